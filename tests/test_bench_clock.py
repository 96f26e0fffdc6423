"""The fit of the clock's constants: it finds what rows were made with, and scores models that it has not seen."""

from dataclasses import fields, replace
from math import log, sqrt

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.pace import pace_of
from advisor.records import Interval, TrainConfig
from advisor.replay.clock import HostPace, step_time
from advisor.replay.work import BACKWARD, FORWARD, OPTIMIZER, Sized
from bench.clock.fit import errors_elsewhere, fitted
from bench.clock.repeats import rank_of_a_repeat, spread_of_one
from bench.clock.report import document, markdown
from bench.clock.timed import TimedRow

GPU = find_gpu("h100-80gb-sxm")[0]


def _rows(host_factor: float, machine: str, machine_factor: float) -> list[TimedRow]:
    """Rows whose time is the clock's own with a host that is so much slower."""
    pace = pace_of(GPU)
    host = HostPace(
        **{f.name: getattr(pace.host, f.name) * host_factor * machine_factor for f in fields(HostPace)}
    )
    rows = []
    for number, model in enumerate(("a", "b", "c")):
        for launches in (400, 900, 1600, 2500, 3600, 5000):
            size = 10**9 * (number + 1)
            sized = {
                FORWARD: [Sized("matmul", launches, size, 10**6), Sized("copy", launches, 0, 10**6)],
                BACKWARD: [
                    Sized("matmul", 2 * launches, size, 10**6),
                    Sized("elementwise", launches, 0, 10**6),
                ],
                OPTIMIZER: [Sized("elementwise", 10, 0, 10**6)],
            }
            took = step_time(sized, pace.card, host, accumulation_steps=1).seconds
            rows.append(
                TimedRow(
                    id=f"{model}{launches}",
                    model=model,
                    config=TrainConfig(),
                    gpu=GPU,
                    environment=machine,
                    seconds=took,
                    foretold=Interval(value=took * 1.1, low=took * 0.9, high=took * 1.2),
                    pace=pace,
                    sized=sized,
                )
            )
    return rows


def test_a_slower_machine_is_found() -> None:
    rows = [*_rows(1.0, "usual", 1.0), *_rows(1.0, "usual", 1.0), *_rows(1.0, "slow", 1.5)]
    fit = fitted(rows)
    assert fit.machines["usual"] == 1.0
    assert fit.machines["slow"] == pytest.approx(1.5, rel=0.05)
    assert all(fit.foretell(row) == pytest.approx(row.seconds, rel=0.05) for row in rows)


def test_models_that_were_left_out_are_foretold() -> None:
    errors = errors_elsewhere(_rows(1.4, "usual", 1.0))
    assert len(errors) == 18
    assert max(abs(error) for _, error in errors) < 0.1


def test_the_report_says_how_far_off_and_how_often_in_range() -> None:
    rows = _rows(1.0, "usual", 1.0)
    made = document([replace(rows[0], foretold=Interval(value=1.0, low=0.9, high=0.95)), *rows[1:]], rows)
    published = made["scores"][-1]
    assert published["median"] == pytest.approx(0.1)
    assert published["in_range"] == 1.0
    assert made["scores"][0]["in_range"] == pytest.approx(17 / 18)
    assert all(each["correlation"] == pytest.approx(1.0) for each in made["rank_correlation"][1:])
    assert "| 18 | published rows, card known from its data sheet alone (" in markdown(made)


def test_what_measuring_again_would_reach() -> None:
    """Two measurements of one config tell how far one of them lies off, and so how well rows near each other are ordered."""
    made = _rows(1.0, "usual", 1.0)
    rows = [replace(row, config=replace(row.config, micro_batch=n)) for n, row in enumerate(made, 1)]
    assert spread_of_one(rows) is None
    again = [replace(row, seconds=row.seconds * 1.1) for row in rows]
    assert spread_of_one([*rows, *again]) == pytest.approx(log(1.1) / sqrt(2))

    apart, near = [1.0, 2.0, 4.0, 8.0, 16.0], [1.0, 1.01, 1.02, 1.03, 1.04]
    assert rank_of_a_repeat(apart, 0.05) > 0.999
    assert rank_of_a_repeat(near, 0.05) < 0.6
