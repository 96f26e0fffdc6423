"""Whether a config fits a card, and if not: the smallest change after which it does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from itertools import combinations
from typing import Any

from advisor.catalog.gpus import usable_bytes
from advisor.catalog.liger import liger_trains
from advisor.errors import AdvisorError
from advisor.estimate import COARSE, Estimator
from advisor.explain import changes
from advisor.records import (
    Attention,
    Autocast,
    ByteInterval,
    Estimate,
    GpuSpec,
    Loss,
    Method,
    ModelSpec,
    Precision,
    TrainConfig,
    all_values,
)

# What to try first: what leaves the result as it is, then what rounds it otherwise, then what learns less.
_FIRST = (
    "evaluation_batch", "autocast", "allocator", "loss", "kbit_prepare", "checkpointing", "micro_batch", "optimizer", "lora_targets", "precision",
    "sequence_length",
)  # fmt: skip
_SHAPE = {"micro_batch", "accumulation_steps", "sequence_length"}
_AT_ONCE = 2  # changes to trace together: as many as are traced in parallel
_SHORTEST = 256  # tokens; below it a sequence is hardly a text
_MOST_PAIRS = 8  # to trace; those that promise nothing by the sum of their savings are left out before
_FLASH_ATTENTION_FROM = (8, 0)  # Dao-AILab/flash-attention, README: "Ampere, Ada, or Hopper GPUs"


class Verdict(StrEnum):
    """The answer."""

    FITS = "fits"  # with the upper end of the interval
    TIGHT = "tight"  # it may run: within the interval, or with the cache emptied on the way
    NO = "does not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change, or two, after which the config fits."""

    changes: tuple[str, ...]
    costs: tuple[str, ...]
    config: TrainConfig
    needed_bytes: ByteInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One config on one card."""

    model: ModelSpec
    config: TrainConfig
    gpu: GpuSpec
    estimate: Estimate
    room_bytes: int  # what the allocator surely gets
    verdict: Verdict
    remedy: Remedy | None  # None also where it fits
    notes: tuple[str, ...]

    @property
    def needed_bytes(self) -> ByteInterval:
        """The reserved peak: what decides."""
        return self.estimate.peak_reserved_bytes


@dataclass(frozen=True, slots=True)
class _Tried:
    """A change with what it needs."""

    name: str
    cost: str
    config: TrainConfig
    needed: ByteInterval


def check(  # noqa: PLR0913 - the question, and two limits of the answer
    model: ModelSpec,
    config: TrainConfig,
    gpu: GpuSpec,
    estimator: Estimator,
    *,
    reserve_bytes: int = 0,
    may_become: Callable[[TrainConfig], bool] = lambda _: True,
) -> Answer:
    """Whether the card holds the config, with `reserve_bytes` left to others; only what `may_become` allows is advised.

    Raises: AdvisorError where the step can't be traced.
    """
    config, notes = traceable(config, gpu)
    room = usable_bytes(gpu) - reserve_bytes
    estimate = estimator.estimate(model, config, gpu, halvings=COARSE)
    verdict = _verdict(estimate, room)
    remedy = None
    if verdict is not Verdict.FITS:
        remedy = _Search(model, config, gpu, estimator, room, may_become).remedy()
    return Answer(
        model=model,
        config=config,
        gpu=gpu,
        estimate=estimate,
        room_bytes=room,
        verdict=verdict,
        remedy=remedy,
        notes=notes,
    )


def traceable(config: TrainConfig, gpu: GpuSpec) -> tuple[TrainConfig, tuple[str, ...]]:
    """The config that can be traced here in place of the asked one, and what is to be said of it on this card."""
    notes = []
    if config.attention is Attention.FLASH_ATTENTION_2:
        if gpu.compute_capability < _FLASH_ATTENTION_FROM:
            notes.append(f"flash-attn does not run on {gpu.name}, which is before sm80")
        if find_spec("flash_attn") is None:
            config = replace(config, attention=Attention.SDPA)
            notes.append(
                "flash_attention_2 is counted as sdpa, which takes torch's own flash kernel: its package is not here"
            )
    if not gpu.bf16 and (config.autocast is Autocast.BF16 or config.precision is Precision.BF16):
        notes.append(f"{gpu.name} has no bf16 of its own: torch emulates it, slowly")
    return config, tuple(notes)


def _verdict(estimate: Estimate, room: int) -> Verdict:
    if estimate.peak_reserved_bytes.high <= room:
        return Verdict.FITS
    least = min(estimate.minimum_reserved_bytes, estimate.peak_reserved_bytes.low)
    return Verdict.TIGHT if least <= room else Verdict.NO


class _Search:
    """Tries single changes in their order, then pairs of them."""

    def __init__(  # noqa: PLR0913 - as `check` has them
        self,
        model: ModelSpec,
        config: TrainConfig,
        gpu: GpuSpec,
        estimator: Estimator,
        room: int,
        may_become: Callable[[TrainConfig], bool],
    ) -> None:
        self.model, self.config, self.gpu, self.estimator, self.room = model, config, gpu, estimator, room
        self.may_become = may_become

    def remedy(self) -> Remedy | None:
        possible = [each for each in _singles(self.config, self.gpu) if self._is_possible(each[1])]
        singles = sorted(possible, key=lambda each: _rank(self.config, each[1]))
        tried: list[_Tried] = []
        for start in range(0, len(singles), _AT_ONCE):
            some = singles[start : start + _AT_ONCE]
            hopeful = [config for _, config, _ in some if self._hint(config) is None]
            self.estimator.prepare(self.model, hopeful, self.gpu)
            for each in some:
                found = self._tried(*each)
                if found is not None and found.needed.high <= self.room:
                    return _remedy(found)
                tried += [found] if found is not None else []
        return self._pair(tried)

    def _is_possible(self, changed: TrainConfig) -> bool:
        runs = changed.loss is not Loss.LIGER or liger_trains(self.model, self.gpu)
        return runs and self.may_become(changed)

    def _pair(self, tried: list[_Tried]) -> Remedy | None:
        here = self._needed(self.config).high
        promising = [
            (one, other)
            for one, other in combinations(tried, 2)
            if not _touched(self.config, one.config) & _touched(self.config, other.config)
            and one.needed.high + other.needed.high - here <= self.room
        ]
        promising.sort(
            key=lambda pair: _rank(self.config, pair[0].config) + _rank(self.config, pair[1].config)
        )
        for one, other in promising[:_MOST_PAIRS]:
            both = replace(one.config, **_changed(self.config, other.config))
            found = self._tried(other.name, both, other.cost)
            if found is not None and found.needed.high <= self.room:
                return _remedy(one, replace_config=found)
        return None

    def _tried(self, name: str, config: TrainConfig, cost: str) -> _Tried | None:
        hint = self._hint(config)
        if hint is not None:
            return _Tried(name, cost, config, ByteInterval(value=hint, low=hint, high=hint))
        try:
            return _Tried(name, cost, config, self._needed(config))
        except AdvisorError:
            return None  # a change that can't be traced is no advice

    def _hint(self, config: TrainConfig) -> int | None:
        """Bytes that a changed shape surely needs, read off the tape at hand; None where it may fit."""
        if _touched(self.config, config) - _SHAPE or self.estimator.has_tape(self.model, config, self.gpu):
            return None
        least = self.estimator.least_bytes(self.model, config, self.gpu, self.config)
        return least if least > self.room else None

    def _needed(self, config: TrainConfig) -> ByteInterval:
        return self.estimator.reserved(self.model, config, self.gpu)


def _remedy(found: _Tried, *, replace_config: _Tried | None = None) -> Remedy:
    last = replace_config or found
    each = (found,) if replace_config is None else (found, replace_config)
    return Remedy(
        changes=tuple(one.name for one in each),
        costs=tuple(one.cost for one in each),
        config=last.config,
        needed_bytes=last.needed,
    )


def _singles(config: TrainConfig, gpu: GpuSpec) -> Iterator[tuple[str, TrainConfig, str]]:
    """The levers, those on batch and length in all their steps, the largest first."""
    scalable = (
        config.adapter_dtype == "fp32" and config.method is Method.LORA
    )  # the scaler's gradients are fp32
    if not gpu.bf16 and config.autocast is Autocast.BF16 and scalable:
        base = Precision.FP16 if config.precision is Precision.BF16 else config.precision
        native = replace(config, autocast=Autocast.FP16, precision=base)
        yield "fp16 in place of bf16", native, f"none: {gpu.name} has no bf16"
    for name, changed, cost in changes(config):
        touched = _touched(config, changed)
        if "micro_batch" in touched:
            yield from _smaller_batches(config, cost)
        elif "sequence_length" in touched:
            yield from _shorter(config, cost)
        else:
            yield name, changed, cost


def _smaller_batches(config: TrainConfig, cost: str) -> Iterator[tuple[str, TrainConfig, str]]:
    whole = config.effective_batch
    for size in range(config.micro_batch - 1, 0, -1):
        if whole % size == 0:
            steps = whole // size
            smaller = replace(config, micro_batch=size, accumulation_steps=steps)
            yield f"micro-batch {size} with {steps} accumulation steps", smaller, cost


def _shorter(config: TrainConfig, cost: str) -> Iterator[tuple[str, TrainConfig, str]]:
    length = config.sequence_length // 2
    while length >= _SHORTEST:
        yield f"sequence length {length:,}", replace(config, sequence_length=length), cost
        length //= 2


def _changed(one: TrainConfig, other: TrainConfig) -> dict[str, Any]:
    return {name: getattr(other, name) for name in _touched(one, other)}


def _touched(one: TrainConfig, other: TrainConfig) -> set[str]:
    left, right = all_values(one), all_values(other)
    return {name for name in left if left[name] != right[name]}


def _rank(config: TrainConfig, changed: TrainConfig) -> int:
    """Place in the order of what to try; a lever that the order does not know comes after those of its memory alone."""
    touched = _touched(config, changed)
    known = [place for place, name in enumerate(_FIRST) if name in touched]
    return min(known) if known else _FIRST.index("optimizer")
