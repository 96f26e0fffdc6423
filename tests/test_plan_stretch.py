"""The longest sequence and the largest micro-batch: they fit, and a step more does not."""

from dataclasses import replace
from pathlib import Path

import pytest
from plan_parts import search_for

from advisor.estimate import Estimator
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.plan.planner import find_best
from advisor.records import Allocator, Precision
from advisor.tape.store import TapeStore
from advisor.units import MIB

# Rooms in which the answer is one whose tapes ship.
LONGEST = PlanOptions(goal=Goal.LONGEST_CONTEXT, precision=Precision.BF16)
LARGEST = PlanOptions(goal=Goal.LARGEST_BATCH, precision=Precision.BF16, sequence_length=512)


@pytest.fixture(scope="module")
def estimator():
    """From shipped tapes alone: tracing is off."""
    return Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))


def in_room(estimator, options, room_bytes):
    """The answer where the card gives so much."""
    search, _ = search_for(estimator, "h100-80gb-sxm", "1B", options)
    tight = replace(options, reserve_bytes=search.ask.room_bytes - room_bytes)
    search, ways = search_for(estimator, "h100-80gb-sxm", "1B", tight)
    return find_best(search, ways), search


def needs(search, found, **changes):
    """What a changed config needs at the risk."""
    return search.ask.replayed(replace(found, config=replace(found.config, **changes))).needed_bytes


def test_the_longest_context_fits_and_a_longer_one_does_not(estimator):
    """Proven by replays on both sides."""
    found, search = in_room(estimator, LONGEST, 3400 * MIB)

    assert found.exact
    assert 1 == found.config.micro_batch
    assert 2048 <= found.config.sequence_length < 4096
    assert found.needed_bytes <= search.ask.room_bytes
    longer = found.config.sequence_length + 256
    for allocator in Allocator:
        assert needs(search, found, sequence_length=longer, allocator=allocator) > search.ask.room_bytes


def test_more_room_takes_a_longer_context(estimator):
    """Monotonous, and never beyond what the model knows."""
    lengths = [
        in_room(estimator, LONGEST, room * MIB)[0].config.sequence_length for room in (2900, 3100, 3300)
    ]

    assert lengths == sorted(set(lengths))


def test_the_largest_batch_fits_and_one_more_does_not(estimator):
    """The effective batch follows it."""
    found, search = in_room(estimator, LARGEST, 3500 * MIB)

    assert found.exact
    assert found.config.micro_batch >= 2
    assert found.config.effective_batch <= 16 or 1 == found.config.accumulation_steps
    assert found.needed_bytes <= search.ask.room_bytes
    assert needs(search, found, micro_batch=found.config.micro_batch + 1) > search.ask.room_bytes


def test_either_allocator_may_go_farthest(estimator):
    """Left free, the answer is no shorter than with one or the other."""
    free = in_room(estimator, LONGEST, 3400 * MIB)[0].config.sequence_length
    lengths = [
        in_room(estimator, replace(LONGEST, allocator=allocator), 3400 * MIB)[0].config.sequence_length
        for allocator in Allocator
    ]

    assert max(lengths) == free


def test_no_room_is_no_answer(estimator):
    """Not even the shortest."""
    assert in_room(estimator, LONGEST, 500 * MIB)[0] is None
