"""How long a plan takes from tapes at hand: `pytest bench/test_plan_speed.py`."""

from dataclasses import replace

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import Estimator
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import find_best, make_plan, open_search
from advisor.records import Checkpointing, Precision, TrainConfig
from advisor.tape.store import TapeStore

MODEL = find_model("8B")[0]
CARD = find_gpu("h100-80gb-sxm")[0]


def _cold() -> Estimator:
    return Estimator(TapeStore(may_trace=False))


def _qlora(micro_batch: int) -> TrainConfig:
    """A config of a plan, whose tape ships."""
    options = PlanOptions(precision=Precision.NF4)
    return lanes(CARD, options, MODEL)[0].with_shape(micro_batch, options, Checkpointing.NON_REENTRANT)


@pytest.mark.parametrize("name", ["16GB", "rtx-4090", "h100-80gb-sxm"])
def test_a_plan_from_cold_tapes(benchmark: BenchmarkFixture, name: str) -> None:
    """From the files to the document: under two seconds."""
    gpu = find_gpu(name)[0]

    made = benchmark.pedantic(  # type: ignore[no-untyped-call]
        make_plan, setup=lambda: ((MODEL, gpu, PlanOptions(), _cold()), {}), rounds=3
    )

    benchmark.extra_info["weighed"] = made.examined
    assert made.examined >= 8


def test_a_thousand_shapes_are_weighed(benchmark: BenchmarkFixture) -> None:
    """Two bases, two checkpointings, every divisor of a large batch, nine lengths: thousands of candidates, with warm tapes."""
    gpu, estimator = CARD, _cold()
    lengths = range(1664, 2048 + 1, 48)  # of one class of shapes, whose tapes ship
    options = PlanOptions(effective_batch=27_720, goal=Goal.FASTEST)  # 96 divisors

    def weigh() -> int:
        possible = 0
        for length in lengths:
            asked = replace(options, sequence_length=length)
            search = open_search(MODEL, gpu, asked, estimator)
            assert find_best(search, lanes(gpu, asked, MODEL)) is not None
            possible += 96 * 2 * 2
        return possible

    weigh()  # tapes and programs are read once
    estimator._least.clear()
    estimator._outcomes.clear()

    possible = benchmark.pedantic(weigh, rounds=1)  # type: ignore[no-untyped-call]

    benchmark.extra_info["possible"] = possible
    assert possible > 1000


def test_all_cards(benchmark: BenchmarkFixture) -> None:
    """`advisor plan --gpus all`, a precision at a time."""
    from advisor.commands.plan import _cards
    from advisor.plan.cards import on_cards

    def answer() -> int:
        options = PlanOptions(precision=Precision.NF4)
        return sum(one.found is not None for one in on_cards(MODEL, _cards("all"), options, _cold()))

    assert benchmark.pedantic(answer, rounds=1) > 10  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("whole", [False, True], ids=["peaks", "estimate"])
def test_another_length(benchmark: BenchmarkFixture, *, whole: bool) -> None:
    """From a tape at hand: what a plan asks for, or all of an estimate with the smallest cap, which takes some ten replays."""
    config, estimator = _qlora(2), _cold()
    lengths = iter(range(1664, 2048))

    def answer() -> None:
        asked = replace(config, sequence_length=next(lengths))
        if whole:
            estimator.estimate(MODEL, asked, CARD)
        else:
            estimator.needed_bytes(MODEL, asked, CARD, 0.01)

    answer()  # the tape is read once
    benchmark.pedantic(answer, rounds=5)  # type: ignore[no-untyped-call]


def test_the_seconds_of_a_step(benchmark: BenchmarkFixture) -> None:
    """What the search asks of the clock for each config that it weighs."""
    config, estimator = _qlora(8), _cold()
    estimator.step_seconds(MODEL, config, CARD)  # its tape is read once

    told = benchmark(estimator.step_seconds, MODEL, config, CARD)

    assert told.low < told.value < told.high
