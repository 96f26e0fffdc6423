"""The allocator model against two histories of the real allocator, address by address."""

import json
import lzma
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.replay.allocator import CachingAllocator
from advisor.replay.blocks import MIN_BLOCK_BYTES, OutOfMemoryError
from advisor.units import MIB

HISTORIES = sorted((Path(__file__).parent / "data/allocator").glob("*.json.xz"))


def history(path: Path) -> list[tuple[str, int, int]]:
    """Kind, bytes and address of each thing that the real allocator did."""
    rows = json.loads(lzma.decompress(path.read_bytes()))
    return [(kind, size, unit * MIN_BLOCK_BYTES) for kind, size, unit in rows]


class RecordedAddresses:
    """Places segments where the real driver put them."""

    def __init__(self) -> None:
        self.pending: list[int] = []

    def place(self, size_bytes: int) -> int:
        return self.pending.pop()


def test_there_are_histories_to_compare_with():
    assert len(HISTORIES) == 2
    assert all(len(history(path)) > 20_000 for path in HISTORIES)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name.removesuffix(".json.xz"))
def test_every_block_lies_where_the_real_allocator_put_it(path):
    """Same pools, rounding, best fit, splitting and joining: the same address for every request."""
    allocator = CachingAllocator()
    addresses = RecordedAddresses()
    allocator.addresses = addresses
    blocks = {}
    reserved_bytes = allocations = 0
    for kind, size, address in history(path):
        if kind == "s":
            addresses.pending.append(address)
            reserved_bytes += size
        elif kind == "a":
            blocks[address] = allocator.allocate(size)
            allocations += 1
            assert address == blocks[address].address
            assert not addresses.pending  # a segment was taken exactly when the real one took one
        else:
            allocator.release(blocks.pop(address))

    assert allocations > 10_000
    assert reserved_bytes == allocator.reserved_bytes


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name.removesuffix(".json.xz"))
def test_modelled_addresses_reserve_what_the_card_reserved(path):
    """Without the recorded addresses the driver's order is modelled: the same peak, to the byte."""
    allocator = CachingAllocator()
    blocks = {}
    reserved_bytes = 0
    for kind, size, address in history(path):
        if kind == "s":
            reserved_bytes += size
        elif kind == "a":
            blocks[address] = allocator.allocate(size)
        else:
            allocator.release(blocks.pop(address))

    assert reserved_bytes == allocator.peak_reserved_bytes


def test_small_requests_share_a_segment():
    """Up to 1 MiB comes from segments of 2 MiB, above from 20 MiB, from 10 MiB on from its own."""
    reserved = {}
    for size in (1, MIB, MIB + 1, 10 * MIB - 512, 10 * MIB, 21 * MIB + 5):
        allocator = CachingAllocator()
        allocator.allocate(size)
        reserved[size] = allocator.reserved_bytes // MIB

    assert list(reserved.values()) == [2, 2, 20, 20, 10, 22]


def test_a_large_remainder_is_split_off_and_a_small_one_is_kept():
    """In the large pool a remainder of 1 MiB or less stays with the block, and counts as allocated."""
    allocator = CachingAllocator()
    allocator.release(allocator.allocate(30 * MIB))

    kept = allocator.allocate(29 * MIB)

    assert 30 * MIB == kept.size == allocator.allocated_bytes


def test_under_a_cap_the_cache_is_emptied_and_asked_again():
    """A retry is counted; a request that still does not fit is out of memory."""
    allocator = CachingAllocator(cap_bytes=64 * MIB)
    allocator.release(allocator.allocate(40 * MIB))

    allocator.allocate(50 * MIB)

    assert allocator.retries == 1
    assert allocator.reserved_bytes == 50 * MIB
    with pytest.raises(OutOfMemoryError):
        allocator.allocate(20 * MIB)
    assert allocator.retries == 2


def test_growing_segments_take_no_more_than_they_need():
    """Blocks of many sizes share one segment: freed space is reused across sizes."""
    plain, growing = CachingAllocator(), CachingAllocator(expandable=True)
    for allocator in (plain, growing):
        for size in (40, 44, 48, 52):
            allocator.release(allocator.allocate(size * MIB))

    assert plain.reserved_bytes == 184 * MIB
    assert growing.reserved_bytes == 60 * MIB


requests = st.lists(
    st.one_of(st.integers(1, 64 * MIB), st.integers(1, 4096), st.just(0)), min_size=1, max_size=80
)


@given(requests, st.booleans())
def test_blocks_never_overlap_and_everything_comes_back(sizes, expandable):
    """0 stands for giving back the oldest block; at the end the cache can be emptied to nothing."""
    allocator = CachingAllocator(expandable=expandable)
    held = []
    for size in sizes:
        if size:
            held.append(allocator.allocate(size))
            assert held[-1].size >= size
        elif held:
            allocator.release(held.pop(0))
        spans = sorted((id(b.pool), b.address, b.address + b.size) for b in held)
        assert all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(spans))
        assert sum(b.size for b in held) == allocator.allocated_bytes <= allocator.reserved_bytes
    for block in held:
        allocator.release(block)
    allocator.empty_cache()

    assert 0 == allocator.allocated_bytes == allocator.reserved_bytes


@given(requests)
def test_touch_is_allocate_and_release(sizes):
    """The shortcut leaves the same peaks and the same cache."""
    one, other = CachingAllocator(), CachingAllocator()
    for size in filter(None, sizes):
        one.touch(size)
        other.release(other.allocate(size))

    assert other.peak_allocated_bytes == one.peak_allocated_bytes
    assert other.peak_reserved_bytes == one.peak_reserved_bytes
    assert [e[:2] for e in other.large.free] == [e[:2] for e in one.large.free]
