"""What one measurement is asked for, as the parent sends it to a worker."""

from dataclasses import dataclass
from typing import Any

from advisor.records import ModelSpec, TrainConfig, config_from_json

BENCHMARK_VERSION = 3  # the way of measuring; profiles/README.md has its history
STEPS = 4  # optimizer steps of a measurement
MOST_STEPS = 12  # where steps are short, and a host's bad moment would count
WARMUP_STEPS = 1  # of these, so many from the first are not timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One config to measure, in one fresh process."""

    model: ModelSpec
    config: TrainConfig
    cap_bytes: int | None = None  # what the allocator is allowed; None: the whole card
    steps: int = STEPS
    kernels: bool = False  # trace one more step, for what keeps the card busy
    predicted_bytes: int | None = None  # reserved peak, where it was predicted
    predicted_cap_bytes: int | None = None  # smallest cap, likewise

    @property
    def key(self) -> tuple[str, TrainConfig, int | None]:
        """What a finished measurement is known by."""
        return self.model.name, self.config, self.cap_bytes

    def to_json(self) -> dict[str, Any]:
        """Plain values for a worker: the facts of the model's config.json, the config, the cap."""
        return {
            "facts": self.model.config,
            "config": self.config.to_json(),
            "cap_bytes": self.cap_bytes,
            "steps": self.steps,
            "kernels": self.kernels,
        }


def label(request: Request) -> str:
    """The request in a few words."""
    config = request.config
    words = [
        request.model.name,
        f"{config.method.value} {config.precision.value}",
        f"{config.micro_batch} x {config.sequence_length:,}"
        + (f" x {config.accumulation_steps}" if config.accumulation_steps > 1 else ""),
        config.recomputed,
        config.loss.value,
    ]
    plain = TrainConfig()
    words += [
        str(getattr(config, name))
        for name in ("optimizer", "lora_variant", "attention", "loop", "allocator")
        if getattr(config, name) != getattr(plain, name)
    ]
    if not config.cast_adapter_inputs:
        words.append("inputs uncast")
    if config.fused_adapters:
        words.append("fused")
    return " · ".join(words)


def asked_for(row: dict[str, Any]) -> tuple[dict[str, Any], TrainConfig, int | None, int]:
    """What `Request.to_json` wrote: facts, config, cap, steps."""
    return row["facts"], config_from_json(row["config"]), row["cap_bytes"], int(row["steps"])
