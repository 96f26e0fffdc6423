"""Segments that grow, `expandable_segments:True`: one a pool, mapped page by page.

Source: c10/cuda/CUDACachingAllocator.cpp (torch 2.13), the functions that `allocator.py` names.
"""

from bisect import bisect_left
from itertools import islice

from advisor.replay.blocks import MIN_BLOCK_BYTES, Block, Pool

_ADDRESS_SPACE_BYTES = 1 << 44  # more than any card has; torch takes 1.125 times the card


def pool(page_bytes: int) -> Pool:
    """A pool with an address space of which nothing is mapped."""
    made = Pool(MIN_BLOCK_BYTES - 1, page_bytes)
    made.unmapped.append(Block(page_bytes, _ADDRESS_SPACE_BYTES, made, mapped=False))
    return made


def best_fit(pool: Pool, size: int) -> Block | None:
    """The block that would be the smallest once grown into the unmapped space behind it."""
    found: Block | None = None
    for _, _, block in islice(pool.free, bisect_left(pool.free, (size, 0)), None):
        if found is not None and _grown_bytes(block) >= _grown_bytes(found):
            break
        found = block
    return found


def take_best_fit(pool: Pool, size: int) -> Block | None:
    """The same block, taken out of the pool."""
    block = best_fit(pool, size)
    if block is not None:
        pool.remove(block)
    return block


def _grown_bytes(block: Block) -> int:
    after = block.following
    return block.size + (after.size if after is not None and not after.mapped else 0)


def take(pool: Pool, size: int) -> tuple[Block, int]:
    """A free block of at least that size, in no pool, and the bytes that were mapped for it."""
    block = next(b for b in map(_with_free_before, pool.unmapped) if _room_bytes(b) >= size)
    total_bytes = 0
    if not block.mapped:
        block, mapped_bytes = _map(pool, block, min(block.size, size))
        total_bytes += mapped_bytes
    while block.size < size:
        after = block.following
        assert after is not None
        block, mapped_bytes = _map(pool, after, min(size - block.size, after.size))
        total_bytes += mapped_bytes
    pool.remove(block)
    return block, total_bytes


def _with_free_before(block: Block) -> Block:
    before = block.previous
    return before if before is not None and before.free else block


def _room_bytes(block: Block) -> int:
    """Bytes from the block to the next one in use."""
    total = 0
    at: Block | None = block
    while at is not None and (at.free or not at.mapped):
        total += at.size
        at = at.following
    return total


def _map(pool: Pool, block: Block, size: int) -> tuple[Block, int]:
    """Map the first pages of an unmapped block, joined with what is free around; and their bytes."""
    mapped_bytes = min(-(-size // pool.page_bytes) * pool.page_bytes, block.size)
    index = pool.unmapped.index(block)
    if mapped_bytes < block.size:
        pool.unmapped[index] = block.split(mapped_bytes)
    else:
        del pool.unmapped[index]
    block.mapped = block.free = True
    pool.add_joined(block)
    return block, mapped_bytes


def unmap_free_pages(pool: Pool) -> int:
    """Unmap every page that lies wholly within a free block; gives the bytes."""
    return sum(_unmap(pool, block) for _, _, block in list(pool.free))


def _unmap(pool: Pool, block: Block) -> int:
    page = pool.page_bytes
    begin = -(-block.address // page) * page
    end = (block.address + block.size) // page * page
    if begin >= end:
        return 0
    pool.remove(block)
    if begin > block.address:
        head, block = block, block.split(begin - block.address)
        pool.add(head)
    if end < block.address + block.size:
        pool.add(block.split(end - block.address))
    unmapped_bytes = block.size
    block.mapped = block.free = False
    _return(pool, block)
    return unmapped_bytes


def _return(pool: Pool, block: Block) -> None:
    """Put an unmapped block among its kind, joined with unmapped neighbours."""
    if block.previous is not None and not block.previous.mapped:
        pool.unmapped.remove(block.previous)
        block.absorb_previous()
    if block.following is not None and not block.following.mapped:
        pool.unmapped.remove(block.following)
        block.absorb_following()
    pool.unmapped.append(block)
    pool.unmapped.sort(key=lambda b: b.address)
