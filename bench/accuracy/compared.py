"""What the report is made of: one record a row, measured beside predicted. `document.py` reads and writes them."""

from dataclasses import dataclass, field
from typing import Any

from advisor.records import TrainConfig

OWN = "own"  # the source of rows that this project's bench measured
RISKS = ("0.1", "0.05", "0.01")  # as `--risk` takes them
GROUPS = ("precision", "method", "checkpointing", "attention", "card", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of one row in bytes. The range is None where none is predicted for it."""

    measured_bytes: int
    predicted_bytes: int
    low_bytes: int | None = None
    high_bytes: int | None = None

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_bytes / self.measured_bytes - 1

    @property
    def inside(self) -> bool | None:
        """Whether the measured figure lies in the predicted range."""
        if self.low_bytes is None or self.high_bytes is None:
            return None
        return self.low_bytes <= self.measured_bytes <= self.high_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One row that ran, and what was predicted for it."""

    id: str
    source: str  # OWN, or the title of a published source
    card: str
    model: str
    config: TrainConfig
    figures: dict[str, Figure]  # allocated, reserved, device, process, static, cap with and without retries
    phases: dict[str, Figure] = field(default_factory=dict)  # peak allocated
    largest_block_bytes: int = 0  # that a step gives back: what residuals of reserved are counted in
    needed_bytes: dict[str, int] = field(default_factory=dict)  # reserved, at each risk of `RISKS`
    repeats: str = ""  # the id of the row of the same config that counts instead
    outliers: bool = False  # LLM.int8 met outlier columns, which predictions take to be none

    @property
    def name(self) -> str:
        """The row in a few words."""
        return row_name(self.model, self.config)

    def facts(self) -> dict[str, str]:
        """What rows are grouped and causes are matched by."""
        told = row_facts(self.source, self.card, self.model, self.config)
        return told | {"outliers": str(self.outliers)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a row fits, as predicted and as seen."""

    id: str
    source: str
    card: str
    model: str
    config: TrainConfig
    outcome: str  # ok or oom
    room_bytes: int  # the cap, or what the card gives an allocator
    minimum_bytes: int  # the smallest cap under which the replay runs

    @property
    def name(self) -> str:
        """The row in a few words."""
        return row_name(self.model, self.config)

    @property
    def excess(self) -> float:
        """Predicted minimum over room, less one: below zero it is predicted to fit."""
        return self.minimum_bytes / self.room_bytes - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Rows that are not scored, and why."""

    source: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Everything that the report says, before it is summed up."""

    compared: tuple[Compared, ...]
    verdicts: tuple[Verdict, ...]
    left_out: tuple[LeftOut, ...]

    def of(self, *, own: bool) -> "Accuracy":
        """The part about own rows, or about those of others."""
        return Accuracy(
            compared=tuple(c for c in self.compared if (c.source == OWN) is own),
            verdicts=tuple(v for v in self.verdicts if (v.source == OWN) is own),
            left_out=tuple(o for o in self.left_out if (o.source == OWN) is own),
        )


def joined(*parts: Accuracy) -> Accuracy:
    """Several parts as one."""
    return Accuracy(
        compared=tuple(c for part in parts for c in part.compared),
        verdicts=tuple(v for part in parts for v in part.verdicts),
        left_out=tuple(o for part in parts for o in part.left_out),
    )


def row_name(model: str, config: TrainConfig) -> str:
    """A model and a config in a few words; what is as usual goes without saying."""
    words = [
        model,
        f"{config.method.value} {config.precision.value}",
        f"{config.micro_batch} x {config.sequence_length} x {config.accumulation_steps}",
        config.checkpointing.value,
        config.loss.value,
    ]
    usual = TrainConfig()
    words += [] if config.attention is usual.attention else [config.attention.value]
    words += [] if config.optimizer == usual.optimizer else [config.optimizer]
    words += [] if config.allocator is usual.allocator else [config.allocator.value]
    words += [] if config.loop is usual.loop else ["bare loop"]
    return " · ".join(words)


def row_facts(source: str, card: str, model: str, config: TrainConfig) -> dict[str, str]:
    """Every field of the row as text, by name."""
    values: dict[str, Any] = {"source": source, "card": card, "model": model, **config.to_json()}
    return {name: value if isinstance(value, str) else str(value) for name, value in values.items()}
