"""How long one call takes: events on a card, the process's clock on a CPU, several raw samples."""

import time
from dataclasses import dataclass

import torch

from bench.kernels.kernel import Call, Kernel

SAMPLES = 5
_WARM_UP = 2  # the first call loads code, and a library may try its ways in the second
_MOST_CALLS = 50  # in one sample: a driver's queue holds 1,024 launches, and a call makes up to 20
_SLOW_SECONDS = 0.25  # a call that takes longer is timed once
_CYCLES_PER_SECOND = 2e9  # no faster clock is known: a card that runs slower only sleeps longer
_LONGEST_SLEEP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a call is timed: so many samples of so many calls."""

    samples: int
    calls: int
    queue_seconds: float  # the CPU's time for the calls of one sample


def warm_up(call: Call, device: torch.device) -> None:
    """What only the first calls do."""
    for _ in range(_WARM_UP):
        call()
    _synchronize(device)


def rhythm(call: Call, device: torch.device, budget_seconds: float) -> Rhythm:
    """Samples that together take about the budget; a warm call is timed once to find out."""
    began = time.perf_counter()
    call()
    queued = time.perf_counter() - began
    _synchronize(device)
    whole = time.perf_counter() - began
    if whole > _SLOW_SECONDS:
        return Rhythm(1, 1, queued)
    calls = max(1, min(_MOST_CALLS, int(budget_seconds / SAMPLES / whole)))
    return Rhythm(SAMPLES, calls, queued * calls)


def samples(kernel: Kernel, call: Call, device: torch.device, budget_seconds: float) -> list[float]:
    """Seconds of one call, raw; the first calls are not among them."""
    warm_up(call, device)
    found = rhythm(call, device, budget_seconds)
    return [sample(kernel, call, device, found) for _ in range(found.samples)]


def sample(kernel: Kernel, call: Call, device: torch.device, found: Rhythm) -> float:
    """Seconds of one call: the mean over the calls of one sample, with nothing else on the card."""
    if device.type == "cuda" and not kernel.host:
        return _on_card(call, found) / found.calls
    _synchronize(device)
    began = time.perf_counter()
    for _ in range(found.calls):
        call()
    seconds = time.perf_counter() - began
    _synchronize(device)
    return seconds / found.calls


def _on_card(call: Call, found: Rhythm) -> float:
    """The card's own time. It sleeps first, until the calls are queued, or it would wait for Python."""
    torch.cuda.synchronize()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    sleep_seconds = min(found.queue_seconds * 1.5 + 20e-6, _LONGEST_SLEEP_SECONDS)
    torch.cuda._sleep(int(sleep_seconds * _CYCLES_PER_SECOND))  # noqa: SLF001 - torch's tests time so, and it has no public name
    begin.record()
    for _ in range(found.calls):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
