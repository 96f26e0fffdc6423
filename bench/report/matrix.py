"""Precision by checkpointing by batch: memory and speed of everything that was measured on the whole card."""

from collections import defaultdict
from itertools import groupby

from advisor.pictures.document import Cell, Group, Paragraph, Section, Table, columns, text
from advisor.profiles.record import Measurement, Outcome
from advisor.records import TrainConfig
from advisor.units import gib
from bench.report.reading import CardRows
from bench.report.words import TIMES, otherwise, speed, trained, way

_LEAD = (
    "Each cell has the reserved peak and, below it, tokens per second. `oom` ran out of memory; an empty cell was not "
    "measured. Columns are sequences in one forward pass."
)


def matrix(card: CardRows) -> Section:
    """One table a model."""
    tables = tuple(
        _table(model, tuple(rows)) for model, rows in groupby(card.free, key=lambda row: row.model)
    )
    return Section(name="matrix", title="Memory and speed", blocks=(Paragraph(text=_LEAD), *tables))


def _table(model: str, rows: tuple[Measurement, ...]) -> Table:
    batches = sorted({row.config.micro_batch for row in rows})
    lengths = sorted({row.config.sequence_length for row in rows})
    return Table(
        name=f"matrix-{model}",
        caption=f"{model}: reserved peak and tokens per second, by sequences in one forward pass.",
        columns=columns("Trained", "Checkpointing", numeric=tuple(f"batch {size}" for size in batches)),
        groups=tuple(
            Group(
                title=f"{length} tokens in a sequence",
                rows=_lines([row for row in rows if row.config.sequence_length == length], batches),
            )
            for length in lengths
        ),
    )


def _lines(rows: list[Measurement], batches: list[int]) -> tuple[tuple[Cell, ...], ...]:
    by_way: dict[TrainConfig, dict[int, Measurement]] = defaultdict(dict)
    for row in rows:
        by_way[way(row.config)][row.config.micro_batch] = row
    return tuple(
        (*_heading(config), *(_cell(measured.get(size)) for size in batches))
        for config, measured in by_way.items()
    )


def _heading(config: TrainConfig) -> tuple[Cell, ...]:
    return (
        text(trained(config)),
        text(config.checkpointing.value, ", ".join(otherwise(config))),
    )


def _cell(row: Measurement | None) -> Cell:
    if row is None:
        return Cell()
    if row.outcome is not Outcome.OK or row.peak_reserved_bytes is None:
        return Cell(lines=(row.outcome.value,), kind=row.outcome.value)
    lines = [gib(row.peak_reserved_bytes)]
    if row.tokens_per_second:
        lines.append(f"{speed(row.tokens_per_second)} tok/s")
    if row.shared:
        lines.append("shared card")
    if row.alloc_retries:
        lines.append(f"cache emptied {row.alloc_retries} {TIMES}")
    return text(*lines)
