"""The rows of one card, read and put in order."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.profiles.probe import Probe
from advisor.profiles.record import Measurement, Outcome
from advisor.records import Checkpointing, GpuSpec, Method, Precision, TrainConfig
from advisor.units import GIB
from bench.accuracy.compared import Compared, Figure
from bench.report.words import otherwise, tokens

_METHODS, _PRECISIONS, _CHECKPOINTING = tuple(Method), tuple(Precision), tuple(Checkpointing)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRows:
    """Everything that was measured on one card, and what was predicted for it."""

    card: GpuSpec
    rows: tuple[Measurement, ...]  # in the order of `row_order`
    current: tuple[Measurement, ...]  # those that no other row of the same config and cap replaces
    figures: dict[str, dict[str, Figure]]  # predicted beside measured, by the row's id and the figure's name
    environments: dict[str, dict[str, Any]]  # by the folder's name
    probes: tuple[Probe, ...] = ()

    @property
    def free(self) -> tuple[Measurement, ...]:
        """The current rows that had the whole card."""
        return tuple(row for row in self.current if row.cap_bytes is None)

    @property
    def ran(self) -> tuple[Measurement, ...]:
        """The current rows that had the whole card and ran to their end."""
        return tuple(row for row in self.free if row.outcome is Outcome.OK and row.peak_reserved_bytes)


def by_card(rows: Iterable[Measurement]) -> dict[str, tuple[Measurement, ...]]:
    """The rows of each card, cards by name."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        found[row.card].append(row)
    return {card: tuple(sorted(found[card], key=row_order)) for card in sorted(found)}


def card_rows(
    slug: str,
    rows: Iterable[Measurement],
    compared: Iterable[Compared],
    environments: dict[str, dict[str, Any]],
    probes: Iterable[Probe] = (),
) -> CardRows:
    """The card's rows in order, with what was predicted for them, the facts of their environments, and its probes."""
    kept = tuple(sorted(rows, key=row_order))
    return CardRows(
        card=find_gpu(slug)[0],
        rows=kept,
        current=_current(kept),
        figures={one.id: one.figures for one in compared},
        environments=dict(sorted(environments.items())),
        probes=tuple(probes),
    )


def _current(rows: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """One row for each model, config and cap: unshared before shared, then measured the newer way, then later."""
    best: dict[tuple[str, TrainConfig, int | None], Measurement] = {}
    for row in sorted(rows, key=lambda r: (not r.shared, r.benchmark_version, r.measured_at, r.id)):
        best[row.model, row.config, row.cap_bytes] = row
    return tuple(sorted(best.values(), key=row_order))


def row_order(row: Measurement) -> tuple[Any, ...]:
    """From the smallest model to the largest, then as the records list their values, then by batch."""
    config = row.config
    return (
        *model_order(row.model),
        _METHODS.index(config.method),
        _PRECISIONS.index(config.precision),
        _CHECKPOINTING.index(config.checkpointing),
        otherwise(config),
        config.sequence_length,
        tokens(config),
        row.cap_bytes or 0,
        row.id,
    )


@cache
def model_order(name: str) -> tuple[int, str]:
    """By weights, then by name."""
    return find_model(name)[0].parameters, name


def reserved_gib(row: Measurement) -> float:
    """The reserved peak for an axis; zero where there is none."""
    return (row.peak_reserved_bytes or 0) / GIB
