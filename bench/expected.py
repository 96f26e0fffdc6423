"""What a measurement is expected to need, before it runs: memory from the simulator, time from a rule of thumb."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil

from advisor.catalog.gpus import usable_bytes
from advisor.errors import AdvisorError
from advisor.estimate import COARSE, Estimator
from advisor.records import Checkpointing, Estimate, GpuSpec, Precision
from bench.request import MOST_STEPS, WARMUP_STEPS, Request

# Seconds until a worker that waited has CUDA, and bytes of weights made, quantised and moved in a second. Seen on one
# H200, 2026-11-24, within a factor of two. They order and budget a sweep; no prediction of training time uses them.
_START_SECONDS = 5.0
_LOAD_BYTES_PER_SECOND = 1.5e9
_TIMED_SECONDS = 1.5
_USUAL_EFFICIENCY = 0.25  # of the sheet's matmul rate, over a whole step
_FP32_SLOWER = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One request with what is expected of it."""

    request: Request
    seconds: float  # of the whole measurement, roughly
    fits: bool
    reason: str  # why it does not, or why nothing was predicted


def expectations(
    requests: Iterable[Request],
    gpu: GpuSpec | None,
    estimator: Estimator | None,
    *,
    halvings: int = COARSE,
) -> list[Expected]:
    """Each request with its predicted peak, time, and whether it fits; without an estimator nothing is predicted.

    A step that can't be traced is taken to fit: the card will tell. `halvings` as `Estimator.estimate` takes it.
    """
    asked = list(requests)
    if estimator is not None:
        for name in {request.model.name for request in asked}:
            of_model = [request for request in asked if request.model.name == name]
            unknown = [r.config for r in of_model if r.predicted_bytes is None]
            estimator.prepare(of_model[0].model, unknown, gpu)
    return [_expected(request, gpu, estimator, halvings) for request in asked]


def _expected(request: Request, gpu: GpuSpec | None, estimator: Estimator | None, halvings: int) -> Expected:
    seconds = rough_seconds(request, gpu)
    if estimator is None or request.predicted_bytes is not None:
        return Expected(request=request, seconds=seconds, fits=True, reason="")
    try:
        answer = estimator.estimate(request.model, request.config, gpu, halvings=halvings)
    except AdvisorError as error:
        return Expected(request=request, seconds=seconds, fits=True, reason=f"not predicted: {error.what}")
    known = replace(
        request,
        steps=_steps(request, answer),
        predicted_bytes=answer.peak_reserved_bytes.value,
        predicted_cap_bytes=answer.minimum_reserved_bytes,
    )
    room = request.cap_bytes or (usable_bytes(gpu) if gpu else None)
    fits = room is None or answer.minimum_reserved_bytes <= room
    reason = "" if fits else "predicted not to fit"
    return Expected(request=known, seconds=seconds, fits=fits, reason=reason)


def _steps(request: Request, answer: Estimate) -> int:
    """More steps where they are short, so that the timed ones together last a second and a half."""
    if answer.step_seconds is None:
        return request.steps
    enough = WARMUP_STEPS + ceil(_TIMED_SECONDS / answer.step_seconds.value)
    return max(request.steps, min(MOST_STEPS, enough))


def rough_seconds(request: Request, gpu: GpuSpec | None) -> float:
    """Seconds that the measurement takes, to a factor of two."""
    config = request.config
    weights_bytes = request.model.parameters * 2
    passes = 8 if config.checkpointing is not Checkpointing.NONE else 6
    flops = passes * request.model.parameters * config.tokens_per_step * request.steps
    rate = _USUAL_EFFICIENCY * (gpu.matmul_flops_per_second if gpu else 1e14)
    if config.precision is Precision.FP32 and config.autocast.value == "none":
        rate /= _FP32_SLOWER
    return _START_SECONDS + weights_bytes / _LOAD_BYTES_PER_SECOND + flops / rate
