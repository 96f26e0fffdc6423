"""Blocks of a segment and the pools of free ones: what both kinds of allocator are made of."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from advisor.units import MIB

# Source of the constants: c10/cuda/CUDACachingAllocator.cpp and c10/core/AllocatorConfig.h (torch 2.13).
MIN_BLOCK_BYTES = 512  # kMinBlockSize: every request is rounded up to it
SMALL_BYTES = 1 * MIB  # kSmallSize: requests up to here come from the small pool
SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer
LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer: a segment for requests below kMinLargeAlloc
MIN_LARGE_BYTES = 10 * MIB  # kMinLargeAlloc: from here on a request gets a segment of its own
ROUND_LARGE_BYTES = 2 * MIB  # kRoundLarge


class OutOfMemoryError(Exception):
    """The request fits neither a cached block nor what the cap leaves."""

    def __init__(self, requested_bytes: int, allocated_bytes: int, reserved_bytes: int) -> None:
        """Keep the three figures that torch's own message gives."""
        super().__init__(f"{requested_bytes} B on top of {allocated_bytes} B allocated")
        self.requested_bytes = requested_bytes
        self.allocated_bytes = allocated_bytes
        self.reserved_bytes = reserved_bytes


class Block:
    """A stretch of a segment, with its neighbours in it."""

    __slots__ = ("address", "following", "free", "mapped", "pool", "previous", "size")

    def __init__(self, address: int, size: int, pool: "Pool", *, mapped: bool = True) -> None:
        """A free block alone in its segment."""
        self.address = address
        self.size = size
        self.pool = pool
        self.mapped = mapped
        self.free = mapped
        self.previous: Block | None = None
        self.following: Block | None = None

    def split(self, size: int) -> "Block":
        """Keep the first `size` bytes; gives the block of the rest, in no pool yet."""
        rest = Block(self.address + size, self.size - size, self.pool, mapped=self.mapped)
        rest.previous, rest.following = self, self.following
        if self.following is not None:
            self.following.previous = rest
        self.following = rest
        self.size = size
        return rest

    def absorb_previous(self) -> None:
        """Grow over the block before."""
        other = self.previous
        assert other is not None
        self.address = other.address
        self.size += other.size
        self.previous = other.previous
        if self.previous is not None:
            self.previous.following = self

    def absorb_following(self) -> None:
        """Grow over the block behind."""
        other = self.following
        assert other is not None
        self.size += other.size
        self.following = other.following
        if self.following is not None:
            self.following.previous = self


@dataclass(slots=True)
class Pool:
    """The free blocks of one kind, by size and then address."""

    split_above_bytes: int  # a remainder must be larger than this to become a block of its own
    page_bytes: int = 0  # mapped at a time; 0 where segments do not grow
    free: list[tuple[int, int, Block]] = field(default_factory=list)
    unmapped: list[Block] = field(default_factory=list)  # by address

    def add(self, block: Block) -> None:
        """Put a free block in its place."""
        insort(self.free, (block.size, block.address, block))

    def remove(self, block: Block) -> None:
        """Take a block out."""
        del self.free[bisect_left(self.free, (block.size, block.address))]

    def best_fit(self, size: int) -> Block | None:
        """The smallest free block of at least that size, at the lowest address."""
        index = bisect_left(self.free, (size, 0))
        return self.free[index][2] if index < len(self.free) else None

    def take_best_fit(self, size: int) -> Block | None:
        """The same block, taken out."""
        free = self.free
        index = bisect_left(free, (size, 0))
        return free.pop(index)[2] if index < len(free) else None

    def add_joined(self, block: Block) -> None:
        """Put a block in its place, grown over its free neighbours."""
        before, after = block.previous, block.following
        if before is not None and before.free:
            self.remove(before)
            block.absorb_previous()
        if after is not None and after.free:
            self.remove(after)
            block.absorb_following()
        insort(self.free, (block.size, block.address, block))


def rounded(requested_bytes: int) -> int:
    """Bytes that a request occupies, before any splitting."""
    if requested_bytes < MIN_BLOCK_BYTES:
        return MIN_BLOCK_BYTES
    return -(-requested_bytes // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES


def segment_bytes(size: int) -> int:
    """Bytes of the segment that is asked of the card for a rounded request."""
    if size <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if size < MIN_LARGE_BYTES:
        return LARGE_SEGMENT_BYTES
    return -(-size // ROUND_LARGE_BYTES) * ROUND_LARGE_BYTES
