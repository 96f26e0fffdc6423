"""The ranges of scored rows, as they would be had the row's model never been measured."""

from collections.abc import Iterator
from dataclasses import replace

from advisor.catalog.gpus import find_gpu
from advisor.residuals.facts import Facts, facts_of
from advisor.residuals.ranges import byte_range, margin_bytes
from advisor.residuals.table import Table
from bench.accuracy.compared import RISKS, Accuracy, Compared, Figure

_WITH_CONTEXT = ("device", "process")  # figures that are the reserved one and what lies beside it


def with_ranges(accuracy: Accuracy, table: Table) -> Accuracy:
    """Each row with low, high and what it needs at a risk, by the rows of other models."""
    return replace(accuracy, compared=tuple(_ranged(row, table) for row in accuracy.compared))


def _ranged(row: Compared, table: Table) -> Compared:
    gpu = find_gpu(row.card)[0]
    facts = facts_of(row.config, gpu)
    ranged = dict(_figures(row, facts, table, gpu.context_uncertainty_bytes))
    return replace(row, figures=row.figures | ranged, needed_bytes=_needed(row, facts, table))


def _figures(
    row: Compared, facts: Facts, table: Table, context_doubt_bytes: int
) -> Iterator[tuple[str, Figure]]:
    for name in ("allocated", "reserved", *_WITH_CONTEXT):
        if (figure := row.figures.get(name)) is None:
            continue
        of, value = "allocated" if name == "allocated" else "reserved", figure.predicted_bytes
        unit = value if name == "allocated" else row.largest_block_bytes
        told = byte_range(table, facts, of, value, unit, unseen=row.model)
        doubt = context_doubt_bytes if name in _WITH_CONTEXT else 0
        yield name, replace(figure, low_bytes=told.low - doubt, high_bytes=told.high + doubt)


def _needed(row: Compared, facts: Facts, table: Table) -> dict[str, int]:
    if "reserved" not in row.figures:
        return {}
    value, block = row.figures["reserved"].predicted_bytes, row.largest_block_bytes
    return {
        risk: value + margin_bytes(table, facts, "reserved", block, float(risk), unseen=row.model)
        for risk in RISKS
    }
