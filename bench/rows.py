"""From a worker's answer to a row of the store."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from advisor.profiles.personal import scrubbed
from advisor.profiles.record import (
    Clocks,
    KernelTime,
    Measurement,
    Outcome,
    PhasePeaks,
    Power,
    SmallestCap,
)
from bench.request import Request


def measurement(request: Request, answer: dict[str, Any], *, card: str, environment: str) -> Measurement:
    """The answer as a measurement, without its id, which the store gives.

    Where others used the card, NVML's figures are theirs too, and are left out.
    """
    kernels = answer.get("kernels")
    peaks = {name: PhasePeaks(**figures) for name, figures in (answer.get("phases") or {}).items()}
    made = Measurement(
        id="",
        card=card,
        environment=environment,
        model=request.model.name,
        config=request.config,
        outcome=Outcome(answer["outcome"]),
        reason=scrubbed(answer["reason"]),  # what a library says may hold a path
        benchmark_version=answer["benchmark_version"],
        measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        provenance="collected",
        cap_bytes=request.cap_bytes,
        shared=answer.get("shared", False),
        static_bytes=answer.get("static_bytes") or None,
        peak_allocated_bytes=answer.get("peak_allocated_bytes") or None,
        peak_reserved_bytes=answer.get("peak_reserved_bytes") or None,
        peak_device_bytes=answer.get("peak_device_bytes") or None,
        alloc_retries=answer.get("alloc_retries"),
        allocator_settings=(answer.get("environment") or {}).get("allocator_settings"),
        phases=peaks,
        warmup_steps=answer.get("warmup_steps", 0),
        step_seconds=tuple(answer.get("step_seconds", ())),
        clocks=_record(Clocks, answer.get("clocks")),
        power=_record(Power, answer.get("power")),
        host_peak_bytes=answer.get("host_peak_bytes"),
        smallest_cap=_cap(answer.get("smallest_cap")),
        host_pace_seconds=answer.get("host_pace_seconds"),
        kernels=kernels and {name: KernelTime(**spent) for name, spent in kernels.items()},
    )
    return _without_device(made) if made.shared else made


def _record(kind: Any, figures: dict[str, Any] | None) -> Any:
    if figures is None:
        return None
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in figures.items()})


def _cap(found: Any) -> SmallestCap | None:
    return found if isinstance(found, SmallestCap) else None


def _without_device(made: Measurement) -> Measurement:
    phases = {name: replace(peaks, peak_device_bytes=None) for name, peaks in made.phases.items()}
    return replace(made, peak_device_bytes=None, phases=phases, clocks=None, power=None, kernels=None)
