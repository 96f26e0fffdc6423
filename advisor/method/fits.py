"""What fits the card that the user has: the planner's answer for each way to train."""

from dataclasses import dataclass

from advisor.errors import AdvisorError, ExitCode
from advisor.estimate import Estimator
from advisor.method.rules import FITS
from advisor.plan.lanes import PlanOptions
from advisor.plan.planner import make_plan
from advisor.records import GpuSpec, Method, ModelSpec, Precision
from advisor.units import gib


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether one way to train fits, and the number that decided."""

    method: str
    fits: bool
    told: str


def fits(model: ModelSpec, gpu: GpuSpec, estimator: Estimator, sequence_length: int) -> tuple[Fit, ...]:
    """One answer a way to train, by simulation; each is planned for itself."""
    half = Precision.BF16 if gpu.bf16 else Precision.FP16
    asked = {
        "lora": (Method.LORA, half),
        "qlora": (Method.LORA, Precision.NF4),
        "last-layers": (Method.LAST_LAYERS, None),
        "full": (Method.FULL, None),
    }
    return tuple(
        _fit(
            name,
            model,
            gpu,
            estimator,
            PlanOptions(method=way, precision=kept, sequence_length=sequence_length),
        )
        for name, (way, kept) in asked.items()
    )


def as_answers(found: tuple[Fit, ...]) -> dict[str, str]:
    """As conditions of rules ask for it."""
    return {FITS + fit.method: "yes" if fit.fits else "no" for fit in found}


def _fit(name: str, model: ModelSpec, gpu: GpuSpec, estimator: Estimator, options: PlanOptions) -> Fit:
    try:
        made = make_plan(model, gpu, options, estimator)
    except AdvisorError as error:
        if error.exit_code is not ExitCode.NO:
            raise
        return Fit(method=name, fits=False, told=error.why)
    needed, given = made.estimate.peak_reserved_bytes.high, made.card.usable_bytes
    shape = f"{made.config.micro_batch} x {made.config.sequence_length:,} tokens at a time"
    return Fit(
        method=name, fits=True, told=f"{gib(needed)} of {gib(given)}, {made.config.precision.value}, {shape}"
    )
