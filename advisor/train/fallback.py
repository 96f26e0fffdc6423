"""What to train with instead, where a config ran out of memory: less at a time, and the same result. No torch here."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from advisor.plan.document import PlannedRun
from advisor.records import Checkpointing, Loss, Precision, TrainConfig
from advisor.train.guard import estimated_bytes

# What may change: it decides how much lies in memory at a time, and nothing of what is learned.
_FREE = (
    *("micro_batch", "accumulation_steps", "checkpointing", "checkpointed_layers"),
    *("loss", "allocator", "cast_adapter_inputs", "fused_adapters"),
    *("evaluates", "evaluation_batch"),
)
_WORDS = {"micro_batch": "micro-batch", "accumulation_steps": "accumulation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One fallback: when, why, from what to what."""

    during: str  # rehearsal, or training
    at_step: int  # the optimizer step that ran out, from 1
    from_step: int  # so many steps were done when the run went on
    why: str
    before: TrainConfig
    after: TrainConfig

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Each field that changed: old and new value."""
        old, new = self.before.to_json(), self.after.to_json()
        names = dict.fromkeys((*old, *new))  # a field that has its default may be left out
        return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}

    @property
    def words(self) -> str:
        """The change for people."""
        moves = ", ".join(f"{_WORDS.get(n, n)} {a} -> {b}" for n, (a, b) in self.changed.items())
        when = "the rehearsal" if self.during == "rehearsal" else f"step {self.at_step}"
        on = f"goes on after step {self.from_step}" if self.from_step else "begins anew"
        return (
            f"{when} ran out of memory ({self.why}): {moves}; {on}. The effective batch of "
            f"{self.after.effective_batch}, the order of the data, the learning rate and the optimizer stay"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the sentence."""
        return {
            "during": self.during,
            "at_step": self.at_step,
            "from_step": self.from_step,
            "why": self.why,
            "changed": {name: list(pair) for name, pair in self.changed.items()},
            "config": self.after.to_json(),
            "text": self.words,
        }


def trains_the_same(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether two configs differ only in how much lies in memory at a time."""
    return training_key(one) == training_key(other)


def training_key(config: TrainConfig) -> dict[str, Any]:
    """What decides what is learned: every field but those of memory and speed, and the effective batch."""
    kept = {f.name for f in fields(config)} - set(_FREE)
    said = {name: value for name, value in config.to_json().items() if name in kept}
    return said | {"effective_batch": config.effective_batch}


def gentler(
    planned: PlannedRun, config: TrainConfig, tried: Collection[TrainConfig], *, on_card: bool
) -> TrainConfig | None:
    """The next config to try after `config` ran out of memory; None where nothing is left.

    First the plan's own alternatives that train the same and need less, the nearest first; then, of a ladder,
    the next rung: a smaller micro-batch, the chunked loss, checkpointing.
    """
    for candidate in (*_of_the_plan(planned, config), *_ladder(config, on_card=on_card)):
        if candidate not in tried:
            return candidate
    return None


def _of_the_plan(planned: PlannedRun, config: TrainConfig) -> list[TrainConfig]:
    needed = _needed_bytes(planned, config)
    less = [
        a
        for a in planned.alternatives
        if not a.lower_bound and a.needed_bytes < needed and trains_the_same(a.config, planned.config)
    ]
    return [a.config for a in sorted(less, key=lambda a: -a.needed_bytes)]


def _needed_bytes(planned: PlannedRun, config: TrainConfig) -> int:
    """What the plan says of the config; 0 where it says nothing."""
    if config == planned.config:
        return estimated_bytes(planned, "peak_reserved_bytes")
    return next((a.needed_bytes for a in planned.alternatives if a.config == config), 0)


def _ladder(config: TrainConfig, *, on_card: bool) -> list[TrainConfig]:
    """The next rung: what costs least time first."""
    batch = config.effective_batch
    smaller = [n for n in range(config.micro_batch - 1, 0, -1) if batch % n == 0]
    if smaller:
        return [replace(config, micro_batch=smaller[0], accumulation_steps=batch // smaller[0])]
    if config.loss is Loss.STOCK:
        return [replace(config, loss=Loss.CHUNKED)]
    if config.checkpointing is Checkpointing.NONE:
        # LLM.int8 keeps each layer's input through non-reentrant checkpointing: docs/decisions/0008.
        int8 = config.precision is Precision.INT8
        kind = Checkpointing.REENTRANT if int8 else Checkpointing.NON_REENTRANT
        return [replace(config, checkpointing=kind, checkpointed_layers=None)]
    if config.checkpointed_layers is not None:
        return [replace(config, checkpointed_layers=None)]
    if on_card and config.checkpointing is Checkpointing.NON_REENTRANT:
        return [replace(config, checkpointing=Checkpointing.OFFLOADED)]
    return []
