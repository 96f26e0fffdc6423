"""What keeps the card busy in one step: its kernels' own seconds by CUDA's trace, and the host's pace beside them.

Both come after all that a row measures, since tracing takes memory of the card and time of the host.
"""

import re
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from advisor.step.session import Session
from advisor.train.meter import Meter
from bench.kernels.kernel import Place
from bench.kernels.overhead import YARDSTICK, overheads
from bench.kernels.timing import samples

OTHER = "other"
_GROUPS = Path(__file__).with_name("kernel_groups.toml")
_BUDGET_SECONDS = 0.3
_STEPS = 2  # the first one of a further training prepares


def host_pace_seconds(device: torch.device) -> float | None:
    """The host's seconds for the probe's little layer, forward and backward; None where memory does not allow it."""
    kernel = next(each for each in overheads(Place(device)) if each.name == YARDSTICK)
    with suppress(torch.OutOfMemoryError):
        return median(samples(kernel, kernel.make(), device, _BUDGET_SECONDS))
    return None


def kernels_of_a_step(session: Session, meter: Meter) -> dict[str, dict[str, float]] | None:
    """Count and seconds of each group of kernels in one more step; None without a card, a trainer or memory."""
    if not meter.on_cuda or session.trainer is None:
        return None
    traced = profile(activities=[ProfilerActivity.CUDA])
    began = len(meter.step_seconds)

    def around_the_last(ended: int) -> None:
        if ended == began + _STEPS - 1:
            traced.start()
        elif ended == began + _STEPS:
            traced.stop()

    meter.after_step = around_the_last
    session.trainer.args.max_steps = _STEPS
    with suppress(RuntimeError):  # no memory, or no tracer: the row itself is whole
        session.train()
        return grouped(_kernels(traced)) or None
    return None


def grouped(kernels: Iterable[tuple[str, float]]) -> dict[str, dict[str, float]]:
    """Count and seconds by group, of names and their seconds."""
    found: dict[str, dict[str, float]] = {}
    for name, seconds in kernels:
        group = found.setdefault(group_of(name), {"count": 0, "seconds": 0.0})
        group["count"] += 1
        group["seconds"] += seconds
    return {name: {**group, "seconds": round(group["seconds"], 9)} for name, group in sorted(found.items())}


@cache
def group_of(name: str) -> str:
    """The group of a kernel of that name."""
    return next((group for group, pattern in _patterns() if pattern.search(name)), OTHER)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    table = tomllib.loads(_GROUPS.read_text(encoding="utf-8"))
    return [(row["name"], re.compile(row["pattern"])) for row in table["group"]]


def _kernels(traced: Any) -> Iterable[tuple[str, float]]:
    results = traced.profiler.kineto_results
    for event in results.events():
        if event.device_type().name == "CUDA":
            yield event.name(), event.duration_ns() / 1e9
