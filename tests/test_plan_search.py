"""The search finds what trying everything would find, and looks at little of it."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from plan_parts import fake_clock, search_for

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import Estimator
from advisor.plan.goals import Goal, score
from advisor.plan.lanes import PlanOptions, at_micro_batch, lanes
from advisor.plan.planner import find_best
from advisor.plan.search import Examined, Known, hint_of, is_free, micro_batches
from advisor.plan.worth import indifference_share
from advisor.records import Allocator, Checkpointing, Interval, Loss, Method, Precision
from advisor.tape.store import TapeStore
from advisor.units import GIB

ASKED = (("t4", "1B"), ("t4", "8B"), ("rtx-4090", "8B"), ("h100-80gb-sxm", "1B"))
OPTIONS = PlanOptions()


@pytest.fixture(scope="module")
def estimator():
    """From shipped tapes alone: tracing is off."""
    return Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))


def best(estimator, gpu, model, options=OPTIONS, clock=fake_clock):
    """What the search finds, and the search."""
    search, ways = search_for(estimator, gpu, model, options, clock)
    return find_best(search, ways), search


def everything(search, ways):
    """Every config that a plan may choose, replayed, with its score; those that fit."""
    ask = search.ask
    for lane in ways:
        if lane.unsupported or not is_free(lane, ask):
            continue
        for config, size in product(lane.variants(ask.options), micro_batches(ask.options)):
            one = ask.looked_at(Examined(lane=lane, config=at_micro_batch(config, size, ask.options)))
            proven = ask.replayed(one) if one.fits else one
            if proven.fits:
                goal = ask.options.goal
                yield score(goal, proven.config, proven.tokens_per_second, proven.needed_bytes), proven


@pytest.mark.parametrize("goal", [Goal.QUALITY, Goal.FASTEST, Goal.LEAST_MEMORY])
@pytest.mark.parametrize(("gpu", "model"), ASKED)
def test_nothing_that_fits_scores_more(estimator, gpu, model, goal):
    """But for what the goal's indifference gives up for memory. Replaying everything is the judge."""
    options = replace(OPTIONS, goal=goal, loss=Loss.CHUNKED)  # of Liger fewer tapes ship than it asks for
    found, _ = best(estimator, gpu, model, options)
    everyone = list(everything(*search_for(estimator, gpu, model, options)))
    mine = score(goal, found.config, found.tokens_per_second, found.needed_bytes)
    highest = max(value for value, _ in everyone)

    assert len(everyone) >= 2
    assert found.known is Known.REPLAY
    assert mine >= highest - abs(highest) * (indifference_share(goal.value) + 1e-9)


def test_little_is_replayed(estimator):
    """Bounds and the clock settle most."""
    _, search = best(estimator, "rtx-4090", "8B", PlanOptions())
    replayed = [one for one in search.seen.values() if one.known is Known.REPLAY]

    assert len(search.seen) >= 8
    assert len(replayed) <= 5


def test_the_hint_is_never_a_batch_of_one(estimator):
    """A tape of micro-batch 1 says that all batches need as much as one."""
    search, ways = search_for(estimator, "t4", "8B")
    family = [at_micro_batch(ways[1].config, size, PlanOptions()) for size in (4, 2, 1)]

    assert 2 == hint_of(family).micro_batch
    assert search.ask.bound(family[0], family[2]) == search.ask.bound(family[2], family[2])
    assert search.ask.bound(family[0], family[1]) > search.ask.bound(family[2], family[1])
    assert 1 == hint_of(family[2:]).micro_batch


def test_a_little_speed_is_given_for_memory(estimator):
    """A micro-batch that is 1 % faster for gigabytes is not taken by `quality`; `fastest` takes it."""

    def nearly_flat(model, config, gpu):
        seconds = config.accumulation_steps * config.micro_batch * (0.985 + 0.015 / config.micro_batch)
        return Interval(value=seconds, low=seconds, high=seconds)

    options = replace(OPTIONS, precision=Precision.BF16, loss=Loss.CHUNKED)
    thrifty, _ = best(estimator, "h100-80gb-sxm", "1B", options, nearly_flat)
    fast, _ = best(estimator, "h100-80gb-sxm", "1B", replace(options, goal=Goal.FASTEST), nearly_flat)

    assert thrifty.config.micro_batch < fast.config.micro_batch
    assert thrifty.needed_bytes < fast.needed_bytes


def test_growing_segments_are_taken_only_where_they_help(estimator):
    """Between what a config needs with fixed segments and with growing ones there is a room for the latter alone."""
    options = replace(
        OPTIONS, precision=Precision.NF4, checkpointing=Checkpointing.NON_REENTRANT, micro_batch=4
    )
    free, search = best(estimator, "h100-80gb-sxm", "8B", options)
    growing = replace(free.config, allocator=Allocator.EXPANDABLE)
    with_growing = search.prove(search.examine(free.lane, growing))
    between = (free.needed_bytes + with_growing.needed_bytes) // 2
    tight = replace(options, reserve_bytes=search.ask.room_bytes - between)
    found, _ = best(estimator, "h100-80gb-sxm", "8B", tight)

    assert Allocator.DEFAULT is free.config.allocator
    assert with_growing.needed_bytes < free.needed_bytes
    assert Allocator.EXPANDABLE is found.config.allocator


def test_the_last_resort_is_a_cache_that_is_emptied(estimator):
    """Less than the free peak, no less than the smallest cap: it runs with retries, and the plan knows."""
    options = replace(
        OPTIONS,
        precision=Precision.NF4,
        checkpointing=Checkpointing.NON_REENTRANT,
        micro_batch=4,
        allocator=Allocator.DEFAULT,
        risk=0.05,
    )
    free, search = best(estimator, "h100-80gb-sxm", "8B", options)
    tight = replace(options, reserve_bytes=search.ask.room_bytes - free.needed_bytes + (64 << 20))
    found, _ = best(estimator, "h100-80gb-sxm", "8B", tight)

    assert 0 == free.retries
    assert found.fits
    assert found.retries > 0


def test_more_caution_never_needs_a_larger_card(estimator):
    """A smaller risk asks for more room for the same config."""
    needs = []
    for risk in (0.1, 0.01, 0.001):
        options = replace(OPTIONS, risk=risk, micro_batch=1, precision=Precision.NF4)
        needs.append(best(estimator, "rtx-4090", "8B", options)[0].needed_bytes)

    assert needs == sorted(needs)
    assert needs[0] < needs[2]


def test_an_unquantised_base_is_given_up_for_much_speed_alone(estimator):
    """Where it would cost less than its worth in speed it stays; where more, NF4 is taken."""

    def nf4_is(factor):
        def clock(model, config, gpu):
            seconds = 1.0 / (factor if config.precision is Precision.NF4 else 1.0)
            return Interval(value=seconds, low=seconds, high=seconds)

        return clock

    # Checkpointed, so that the shortcut for unquantised bases at their best is not taken.
    options = replace(OPTIONS, checkpointing=Checkpointing.NON_REENTRANT)
    little, _ = best(estimator, "rtx-4090", "1B", options, nf4_is(1.2))
    much, _ = best(estimator, "rtx-4090", "1B", options, nf4_is(1.3))

    assert Precision.BF16 is little.config.precision
    assert Precision.NF4 is much.config.precision


def test_what_is_fixed_stays(estimator):
    """Every dimension that the user fixes is in the answer."""
    asked = replace(
        OPTIONS, precision=Precision.NF4, micro_batch=2, checkpointing=Checkpointing.NON_REENTRANT
    )
    found, _ = best(estimator, "rtx-4090", "8B", asked)

    assert (Precision.NF4, 2) == (found.config.precision, found.config.micro_batch)
    assert Checkpointing.NON_REENTRANT is found.config.checkpointing


def test_thorough_varies_what_is_usually_left_alone():
    """Loss, optimizer, rank and modules; twelve times as many and more."""
    card = find_gpu("rtx-4090")[0]
    lane = lanes(card, PlanOptions(), find_model("1B")[0])[0]
    usual, wide = lane.variants(PlanOptions()), lane.variants(PlanOptions(thorough=True))

    assert 2 == len(usual)
    assert set(usual) < set(wide)
    assert len(wide) >= 12 * len(usual)
    assert {Loss.STOCK, Loss.CHUNKED} == {config.loss for config in wide}
    assert {16, 64, 256} == {config.lora_rank for config in wide}


def test_a_model_without_tapes_is_no_crash(estimator):
    """Where nothing may be traced nothing is known, and that is said rather than guessed."""
    unknown = replace(find_model("1B")[0], config={**find_model("1B")[0].config, "num_hidden_layers": 5})
    search, ways = search_for(estimator, "rtx-4090", "1B")
    search.ask = replace(search.ask, model=unknown)

    assert find_best(search, ways) is None
    assert all(one.why_not for one in search.seen.values())


def test_a_way_that_is_asked_for_is_weighed_though_it_is_passed_over(estimator):
    """8-bit by name, whole layers by name; not unasked."""
    for options in (replace(OPTIONS, precision=Precision.INT8), replace(OPTIONS, method=Method.LAST_LAYERS)):
        found, _ = best(estimator, "h100-80gb-sxm", "1B", options)
        assert options.precision in (None, found.config.precision)
        assert options.method in (None, found.config.method)
    free, search = best(estimator, "h100-80gb-sxm", "1B")
    assert Method.LORA is free.config.method
    assert Precision.INT8 not in {one.config.precision for one in search.seen.values()}


def test_room_is_what_the_card_gives_less_the_reserve(estimator):
    """And the best fits in it at the upper end."""
    options = replace(OPTIONS, reserve_bytes=2 * GIB)
    found, search = best(estimator, "rtx-4090", "8B", options)
    free, wide = best(estimator, "rtx-4090", "8B")

    assert wide.ask.room_bytes - 2 * GIB == search.ask.room_bytes
    assert found.needed_bytes <= search.ask.room_bytes
    assert free.needed_bytes <= wide.ask.room_bytes
