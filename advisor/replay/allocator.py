"""The CUDA caching allocator, block by block: what torch reserves from the card for a row of requests.

Source: c10/cuda/CUDACachingAllocator.cpp (torch 2.13): `malloc`, `get_free_block`, `should_split`,
`alloc_block`, `free_block`, `release_cached_blocks`; for `expandable_segments:True` also
`try_allocate_expandable_block`, `find_expandable_block`, `map_block`, `unmap_block`.
One device, one stream, no `max_split_size`, no garbage collection, no rounding to powers of two.
"""

from typing import Protocol

from advisor.replay import growing
from advisor.replay.addresses import DriverAddresses
from advisor.replay.blocks import (
    LARGE_SEGMENT_BYTES,
    MIN_BLOCK_BYTES,
    SMALL_BYTES,
    SMALL_SEGMENT_BYTES,
    Block,
    OutOfMemoryError,
    Pool,
    rounded,
    segment_bytes,
)


class Addresses(Protocol):
    """Whoever says where a new segment lies."""

    def place(self, size_bytes: int) -> int:
        """The address of a new segment."""


class CachingAllocator:
    """Hands out blocks; remembers peaks and retries. `cap_bytes` limits what it may reserve."""

    def __init__(self, cap_bytes: int | None = None, *, expandable: bool = False) -> None:
        """Nothing reserved yet."""
        self.cap_bytes = cap_bytes
        self.expandable = expandable
        if expandable:
            self.small = growing.pool(SMALL_SEGMENT_BYTES)
            self.large = growing.pool(LARGE_SEGMENT_BYTES)
        else:
            # A remainder of kMinBlockSize is enough in the small pool; more than kSmallSize in the large.
            self.small = Pool(MIN_BLOCK_BYTES - 1)
            self.large = Pool(SMALL_BYTES)
        self.allocated_bytes = self.peak_allocated_bytes = 0
        self.reserved_bytes = self.peak_reserved_bytes = 0
        self.retries = 0
        self.addresses: Addresses = DriverAddresses()

    def allocate(self, requested_bytes: int) -> Block:
        """A block of at least that many bytes.

        Raises: OutOfMemoryError where the cap leaves no room, even after the cache was emptied.
        """
        size = rounded(requested_bytes)
        pool = self.small if size <= SMALL_BYTES else self.large
        block = growing.take_best_fit(pool, size) if self.expandable else pool.take_best_fit(size)
        if block is None:
            block = self._reserve(size, pool)
        if block.size - size > pool.split_above_bytes:
            pool.add(block.split(size))
        block.free = False
        self.allocated_bytes += block.size
        if self.allocated_bytes > self.peak_allocated_bytes:  # noqa: PLR1730 - twice as fast as max()
            self.peak_allocated_bytes = self.allocated_bytes
        return block

    def touch(self, requested_bytes: int) -> None:
        """Allocate and free at once: where a cached block serves, only the peak can change."""
        size = rounded(requested_bytes)
        pool = self.small if size <= SMALL_BYTES else self.large
        block = growing.best_fit(pool, size) if self.expandable else pool.best_fit(size)
        if block is None:
            self.release(self.allocate(requested_bytes))
            return
        taken = size if block.size - size > pool.split_above_bytes else block.size
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes + taken)

    def release(self, block: Block) -> None:
        """Take a block back, and join it with free neighbours."""
        block.free = True
        self.allocated_bytes -= block.size
        block.pool.add_joined(block)

    def empty_cache(self) -> None:
        """Give back every segment, or every page of a growing one, that is wholly free."""
        for pool in (self.small, self.large):
            if self.expandable:
                self.reserved_bytes -= growing.unmap_free_pages(pool)
                continue
            whole = [e for e in pool.free if e[2].previous is None and e[2].following is None]
            self.reserved_bytes -= sum(size for size, _, _ in whole)
            pool.free = [e for e in pool.free if e[2].previous or e[2].following]

    def _reserve(self, size: int, pool: Pool) -> Block:
        wanted = segment_bytes(size)
        if not self._may_reserve(wanted):
            self.retries += 1
            self.empty_cache()
            if not self._may_reserve(wanted):
                raise OutOfMemoryError(size, self.allocated_bytes, self.reserved_bytes)
        if self.expandable:
            block, mapped_bytes = growing.take(pool, size)
        else:
            block, mapped_bytes = Block(self.addresses.place(wanted), wanted, pool), wanted
        self.reserved_bytes += mapped_bytes
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        return block

    def _may_reserve(self, more_bytes: int) -> bool:
        return self.cap_bytes is None or self.reserved_bytes + more_bytes <= self.cap_bytes
