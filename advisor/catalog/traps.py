"""`traps.toml`: what small and unusual cards do that a plan must know, each rule with its source."""

import platform
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from advisor.records import GpuSpec, ModelSpec, TrainConfig

_KERNEL = Path("/proc/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """One rule that acts on a plan."""

    code: str
    kind: str  # fails, memory, speed or note
    text: str
    fix: str
    source: str
    date: str

    def to_json(self) -> dict[str, str]:
        """The rule, with its source."""
        return {
            "code": self.code,
            "kind": self.kind,
            "text": self.text,
            "fix": self.fix,
            "source": f"{self.source} ({self.date})",
        }


def traps_for(
    gpu: GpuSpec,
    config: TrainConfig,
    model: ModelSpec | None = None,
    *,
    reserve_bytes: int = 0,
    system: str | None = None,
) -> tuple[Trap, ...]:
    """Every rule that acts on the config on the card, those that make it fail first.

    `system` is linux, wsl or windows; left out, it is that of this machine.
    """
    case = _Case(gpu, config, model, reserve_bytes, system or system_here())
    acting = [_trap(rule, gpu) for rule in _document()["trap"] if case.meets(rule)]
    return tuple(sorted(acting, key=lambda trap: _ORDER.index(trap.kind)))


def unsupported_precision(gpu: GpuSpec, config: TrainConfig) -> str:
    """Why the card can't hold the base weights so, or nothing."""
    case = _Case(gpu, config, None, 0, "linux")
    rules = (rule for rule in _document()["trap"] if rule["kind"] == "fails" and "precision" in rule)
    return next((_trap(rule, gpu).text for rule in rules if case.meets(rule)), "")


def all_traps() -> tuple[dict[str, Any], ...]:
    """Every rule as the file has it, with its conditions."""
    return tuple(_document()["trap"])


@cache
def system_here() -> str:
    """linux, wsl or windows; others count as linux, for no rule knows them."""
    if platform.system() == "Windows":
        return "windows"
    try:
        return "wsl" if "microsoft" in _KERNEL.read_text(encoding="utf-8").lower() else "linux"
    except OSError:
        return "linux"


_ORDER = ("fails", "memory", "speed", "note")
_CONFIG_FIELDS = ("precision", "autocast", "optimizer", "attention", "allocator", "checkpointing")
_TOLD = ("code", "kind", "text", "fix", "source", "date")


@dataclass(frozen=True, slots=True)
class _Case:
    """What conditions are asked of."""

    gpu: GpuSpec
    config: TrainConfig
    model: ModelSpec | None
    reserve_bytes: int
    system: str

    def meets(self, rule: dict[str, Any]) -> bool:
        return all(self._holds(name, value) for name, value in rule.items() if name not in _TOLD)

    def _holds(self, name: str, wanted: Any) -> bool:
        if name in _CONFIG_FIELDS:
            return any(_matches(str(getattr(self.config, name)), pattern) for pattern in wanted)
        return _CONDITIONS[name](self, wanted)

    def shares_key_heads(self) -> bool:
        if self.model is None:
            return False
        heads, groups = (self.model.config.get(k) for k in ("num_attention_heads", "num_key_value_heads"))
        return groups not in (None, heads)


_CONDITIONS: dict[str, Callable[[_Case, Any], bool]] = {
    "capability_below": lambda case, wanted: case.gpu.compute_capability < tuple(wanted),
    "capability_from": lambda case, wanted: case.gpu.compute_capability >= tuple(wanted),
    "vendor": lambda case, wanted: bool(case.gpu.vendor == wanted),
    "bf16": lambda case, wanted: case.gpu.bf16 is wanted,
    "unified": lambda case, wanted: case.gpu.unified is wanted,
    "name_starts_with": lambda case, wanted: case.gpu.name.startswith(tuple(wanted)),
    "slugs": lambda case, wanted: case.gpu.slug in wanted,
    "shared_key_heads": lambda case, wanted: case.shares_key_heads() is wanted,
    "reserved": lambda case, wanted: bool(case.reserve_bytes) is wanted,
    "system": lambda case, wanted: case.system in wanted,
}
CONDITIONS = (*_CONFIG_FIELDS, *_CONDITIONS)  # what a rule may ask; a test holds the file to it


def _matches(value: str, pattern: str) -> bool:
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def _trap(rule: dict[str, Any], gpu: GpuSpec) -> Trap:
    words = {"gpu": gpu.name, "laptop": _document()["laptops"].get(gpu.slug, "")}
    told = {name: rule[name] for name in _TOLD}
    return Trap(**(told | {name: rule[name].format(**words) for name in ("text", "fix")}))


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files("advisor.catalog").joinpath("traps.toml").read_text(encoding="utf-8"))
