"""The allocator model against histories of the real allocator, address by address."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.gpus import find_gpu
from advisor.records import config_from_json
from advisor.replay.addresses import DriverAddresses
from advisor.replay.allocator import CachingAllocator
from advisor.replay.blocks import OutOfMemoryError
from advisor.replay.driver import CONTEXT, Driver, Mapping, driver_of
from advisor.units import MIB
from bench.events.history import ALLOC, SEGMENT, kept_folder, kept_histories
from bench.events.report import replayed_bytes

HISTORIES = kept_histories(kept_folder())
each_history = pytest.mark.parametrize("kept", HISTORIES, ids=lambda kept: kept.path.name)


class RecordedAddresses:
    """Places segments where the real driver put them."""

    def __init__(self) -> None:
        self.pending: list[int] = []

    def place(self, size_bytes: int) -> int:
        return self.pending.pop()


def reserved_bytes(kept):
    """What the real allocator took from the card; it gave nothing back."""
    return sum(size for kind, size, _ in kept.happenings if kind == SEGMENT)


def driver(kept):
    config = config_from_json(kept.row)
    return driver_of(find_gpu(kept.card)[0].compute_capability, config.method, config.precision)


def test_there_are_histories_to_compare_with():
    assert len(HISTORIES) == 5
    assert {"nf4", "int8", "fp32"} == {kept.row["precision"] for kept in HISTORIES}
    assert all(len(kept.happenings) > 19_000 for kept in HISTORIES)


@each_history
def test_every_block_lies_where_the_real_allocator_put_it(kept):
    """Same pools, rounding, best fit, splitting and joining: the same address for every request."""
    allocator = CachingAllocator()
    addresses = RecordedAddresses()
    allocator.addresses = addresses
    blocks = {}
    allocations = 0
    for kind, size, address in kept.happenings:
        if kind == SEGMENT:
            addresses.pending.append(address)
        elif kind == ALLOC:
            blocks[address] = allocator.allocate(size)
            allocations += 1
            assert address == blocks[address].address
            assert not addresses.pending  # a segment was taken exactly when the real one took one
        else:
            allocator.release(blocks.pop(address))

    assert allocations > 9_000
    assert reserved_bytes(kept) == allocator.reserved_bytes


@each_history
def test_modelled_addresses_reserve_what_the_card_reserved(kept):
    """Without the recorded addresses the driver is modelled: the same peak, to the byte."""
    assert reserved_bytes(kept) == replayed_bytes(kept.happenings, dict(kept.moments), driver(kept))


def test_what_the_driver_maps_for_itself_decides_what_is_reserved():
    """Without it two of the five histories are off, one by 9 %."""
    bare = [replayed_bytes(kept.happenings, {}, Driver()) / reserved_bytes(kept) - 1 for kept in HISTORIES]

    assert -0.09 > min(bare)
    assert 2 == sum(error != 0 for error in bare)


def test_the_newest_stretch_is_filled_first():
    """A stretch of 32 MiB for each 20 MiB; what is small goes into the rest of the last one, upwards."""
    addresses = DriverAddresses()
    first, second = addresses.place(20 * MIB), addresses.place(20 * MIB)

    assert first - 32 * MIB == second
    assert [second + 20 * MIB, second + 22 * MIB] == [addresses.place(2 * MIB), addresses.place(2 * MIB)]
    assert second + 24 * MIB == addresses.place(8 * MIB)
    assert first + 20 * MIB == addresses.place(2 * MIB)


@pytest.mark.parametrize("beside", [False, True])
def test_what_the_driver_gives_back_is_used_again_where_torch_lives_beside_it(beside):
    """A stretch that is wholly free is unmapped; one that holds a segment stays, and has room."""
    pool = Mapping(moment=CONTEXT, size_bytes=62 * MIB, name="pool")
    addresses = DriverAddresses(Driver((pool, Mapping(moment="kernel", returns="pool"))))
    top = 1 << 47
    segment = addresses.place((2 if beside else 32) * MIB)
    addresses.reach("kernel")

    again = addresses.place(32 * MIB)

    assert (top - 2 * MIB if beside else top - 96 * MIB) == segment
    assert (top - 64 * MIB if beside else top - 128 * MIB) == again


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
