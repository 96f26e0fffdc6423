"""Whether Liger's kernels train a model on a card; `liger.toml` has what is known."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.records import GpuSpec, ModelSpec


def liger_trains(model: ModelSpec, gpu: GpuSpec) -> bool:
    """Whether liger-kernel has kernels for the architecture, and the card runs them."""
    table = _table()
    new_enough = gpu.compute_capability >= tuple(table["least_capability"])
    return new_enough and model.config.get("model_type") in table["model_types"]


def liger_measured() -> str:
    """What was measured of the time that its kernels save, in words."""
    return str(_table()["measured"])


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("advisor.catalog").joinpath("liger.toml").read_text(encoding="utf-8"))
