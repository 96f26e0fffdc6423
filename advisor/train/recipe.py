"""Learning rate and warm-up where the user gives none, each with its source."""

from dataclasses import dataclass

from advisor.plan.document import PlannedRun
from advisor.records import Method, Precision, Reason
from advisor.train.request import RunRequest

_WARMUP_SHARE = 0.03  # QLoRA's and Alpaca's scripts alike: warmup_ratio 0.03
_LARGE_PARAMETERS = 30_000_000_000
_SIGNIFICANT_BITS = {Precision.BF16: 8, Precision.FP16: 11}
_LORA = Reason(
    code="lora-rate", text="2e-4, as QLoRA (arXiv 2305.14314, table 9, up to 13B) and TRL's sft.py for LoRA"
)
_LARGE_LORA = Reason(code="large-lora-rate", text="1e-4, as QLoRA (arXiv 2305.14314, table 9, 33B and 65B)")
_WEIGHTS = Reason(code="weights-rate", text="2e-5, as TRL's SFTConfig and Stanford Alpaca's full training")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the weights move; none of it changes what a step needs."""

    learning_rate: float
    warmup_steps: int
    reason: Reason


def choose_recipe(planned: PlannedRun, request: RunRequest, steps: int) -> Recipe:
    """The user's numbers, or the method's with their source; the rate then falls along a cosine."""
    rate, reason = _learning_rate(planned)
    if request.learning_rate is not None:
        rate, reason = (
            request.learning_rate,
            Reason(code="asked", text=f"{request.learning_rate:g}, as asked"),
        )
    warmup = round(_WARMUP_SHARE * steps) if request.warmup_steps is None else request.warmup_steps
    return Recipe(learning_rate=rate, warmup_steps=min(warmup, steps), reason=reason)


def rounding_note(planned: PlannedRun) -> str | None:
    """A warning where the stored weights are too coarse for the steps that they take."""
    config = planned.config
    if config.method is Method.LORA or config.precision not in _SIGNIFICANT_BITS:
        return None
    return (
        f"the weights are updated in {config.precision.value} itself, with no fp32 copy: updates below about "
        f"1/{2 ** _SIGNIFICANT_BITS[config.precision]} of a weight are rounded away; raise the learning rate, or "
        "plan --precision fp32, if the loss stalls"
    )


def _learning_rate(planned: PlannedRun) -> tuple[float, Reason]:
    if planned.config.method is not Method.LORA:
        # Last layers too: the same weights move in the same way, and no other default is published.
        return 2e-5, _WEIGHTS
    if planned.model.parameters >= _LARGE_PARAMETERS:
        return 1e-4, _LARGE_LORA
    return 2e-4, _LORA
