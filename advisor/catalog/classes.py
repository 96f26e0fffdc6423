"""`classes.toml`: which card and which model a bare size stands for."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from advisor.catalog.gpu_table import confidence
from advisor.records import GpuSpec

_FILE = Path(__file__).with_name("classes.toml")
_MODEL_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([bm])")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRule:
    """Which cards may stand for their size class; `source` says why not the others."""

    vendor: str
    unified: bool
    least_compute_capability: tuple[int, int]
    memory_confidence: tuple[str, ...]
    source: str
    date: str

    def lets_in(self, gpu: GpuSpec) -> bool:
        """Whether the card may stand for its class."""
        return (
            gpu.vendor == self.vendor
            and gpu.unified == self.unified
            and gpu.compute_capability >= self.least_compute_capability
            and confidence(gpu, "memory_bytes") in self.memory_confidence
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelClass:
    """The model that stands for a size, and why this one."""

    size: str  # such as 8B
    model: str
    reason: str

    @property
    def parameters(self) -> float:
        """The number that the size names, such as 8e9."""
        return parse_model_size(self.size) or 0.0


def parse_model_size(text: str) -> float | None:
    """The parameters that `8B` or `135M` names, or None where the text is no size."""
    match = _MODEL_SIZE.fullmatch(text.lower())
    return float(match[1]) * (1e9 if match[2] == "b" else 1e6) if match else None


@cache
def gpu_rule() -> GpuRule:
    """Which cards may stand for their size class."""
    row = dict(_document()["gpu_rule"])
    capability, sure = row.pop("least_compute_capability"), row.pop("memory_confidence")
    return GpuRule(least_compute_capability=tuple(capability), memory_confidence=tuple(sure), **row)


@cache
def model_classes() -> tuple[ModelClass, ...]:
    """Every size that stands for a model, smallest first."""
    return tuple(ModelClass(size=size, **row) for size, row in _document()["models"].items())


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
