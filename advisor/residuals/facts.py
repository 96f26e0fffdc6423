"""What tells measured rows near a config from those that are not: `rules.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.records import Checkpointing, GpuSpec, TrainConfig

_USUAL_OPTIMIZER = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A config by what its residuals depend on; the model's family made no difference."""

    weights: str
    checkpointing: bool
    loss: str
    method: str
    optimizer: str
    allocator: str
    capability: str  # the card's, such as 9.0; empty where there is no card


def facts_of(config: TrainConfig, gpu: GpuSpec | None) -> Facts:
    """The facts of a config on a card."""
    return Facts(
        weights=rules()["facts"]["weights"][config.precision.value],
        checkpointing=config.checkpointing is not Checkpointing.NONE,
        loss=config.loss.value,
        method=config.method.value,
        optimizer=_optimizer(config.optimizer),
        allocator=config.allocator.value,
        capability="" if gpu is None else ".".join(map(str, gpu.compute_capability)),
    )


@cache
def _optimizer(name: str) -> str:
    known = rules()["facts"]["optimizers"]
    return next((family for part, family in known if part in name), _USUAL_OPTIMIZER)


@cache
def rules() -> dict[str, Any]:
    """The file's content."""
    return tomllib.loads(files("advisor.residuals").joinpath("rules.toml").read_text(encoding="utf-8"))
