"""Measured steps beside what the clock needs to foretell them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import Estimator
from advisor.pace import Pace
from advisor.profiles.record import KernelTime, Measurement, Outcome
from advisor.records import GpuSpec, Interval, TrainConfig
from advisor.replay.work import Sized
from bench.accuracy.published import read_published


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRow:
    """One row whose time counts."""

    id: str
    model: str
    config: TrainConfig
    gpu: GpuSpec
    environment: str  # the machine: rows tell it by card and hour, for hosts of one kind are not equally fast
    seconds: float  # of a step, the median after the warm-up
    foretold: Interval
    pace: Pace
    sized: dict[str, list[Sized]]
    kernels: Mapping[str, float] = field(default_factory=dict)  # traced seconds by group; empty: not traced


# The clock tells fewer kinds apart than names of kernels do: all of these only move bytes.
_MOVING = ("elementwise", "reduce", "index", "loss", "other", "optimizer")


def timed_rows(rows: Iterable[Measurement], estimator: Estimator) -> list[TimedRow]:
    """The rows that were measured alone on their card and ended well.

    Raises: AdvisorError where a step can't be traced.
    """
    return [_timed(row, estimator) for row in rows if _counts(row)]


def published_rows(folder: Path, estimator: Estimator) -> list[TimedRow]:
    """The rows of others that say their speed; repeats of one config in one session count each.

    Raises: AdvisorError where one can't be read or traced.
    """
    told = [
        row for row in read_published(folder, timed=True)[0] if row.outcome == "ok" and row.tokens_per_second
    ]
    return [
        TimedRow(
            id=row.id,
            model=row.model.name,
            config=row.config,
            gpu=row.gpu,
            environment=row.source,
            seconds=row.config.tokens_per_step / (row.tokens_per_second or 1),
            foretold=estimator.step_seconds(row.model, row.config, row.gpu),
            pace=estimator.pace(row.gpu),
            sized=estimator.sized_kernels(row.model, row.config, row.gpu),
        )
        for row in told
    ]


def _counts(row: Measurement) -> bool:
    return row.outcome is Outcome.OK and not row.shared and len(row.step_seconds) > row.warmup_steps


def _timed(row: Measurement, estimator: Estimator) -> TimedRow:
    model, gpu = find_model(row.model)[0], find_gpu(row.card)[0]
    return TimedRow(
        id=row.id,
        model=row.model,
        config=row.config,
        gpu=gpu,
        environment=f"{row.card} {row.measured_at[:13]}",
        seconds=median(row.step_seconds[row.warmup_steps :]),
        foretold=estimator.step_seconds(model, row.config, gpu),
        pace=estimator.pace(gpu),
        sized=estimator.sized_kernels(model, row.config, gpu),
        kernels=_groups(row.kernels or {}),
    )


def _groups(kernels: Mapping[str, KernelTime]) -> dict[str, float]:
    """Seconds by the groups that the clock knows."""
    found: dict[str, float] = defaultdict(float)
    for name, spent in kernels.items():
        found["elementwise" if name in _MOVING else name] += spent.seconds
    return dict(found)
