"""Published rows beside their predictions."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from advisor.catalog.gpus import usable_bytes
from advisor.errors import AdvisorError
from advisor.estimate import COARSE, FINE, Estimator
from advisor.records import Estimate
from advisor.residuals.table import MEMORY, shipped
from bench.accuracy.compared import Accuracy, Compared, Figure, LeftOut, Verdict
from bench.accuracy.published import PublishedRow, read_published
from bench.accuracy.ranges import with_ranges


def compare_published(folder: Path, estimator: Estimator) -> Accuracy:
    """What the report says of the published rows in the folder.

    Raises: AdvisorError where they can't be read.
    """
    rows, left_out = read_published(folder)
    return _with(compare_these(rows, estimator), left_out)


def compare_these(rows: Sequence[PublishedRow], estimator: Estimator) -> Accuracy:
    """The rows and their predictions; missing tapes are traced first, in parallel."""
    ordered = sorted(rows, key=_whose)
    for _, same in groupby(ordered, key=_whose):
        of_model = list(same)
        estimator.prepare(of_model[0].model, [row.config for row in of_model], of_model[0].gpu)
    compared, verdicts, left_out = [], [], []
    for row in rows:
        try:
            estimate = _estimate(row, estimator)
        except AdvisorError as error:
            left_out.append(LeftOut(source=row.source, reason=f"{row.model.name}: {error.what}", count=1))
            continue
        compared.extend(_compared(row, estimate, estimator))
        verdicts.extend(_verdict(row, estimate))
    found = Accuracy(compared=tuple(compared), verdicts=tuple(verdicts), left_out=())
    return _with(with_ranges(found, shipped(MEMORY)), left_out)


def _with(made: Accuracy, left_out: Sequence[LeftOut]) -> Accuracy:
    return Accuracy(compared=made.compared, verdicts=made.verdicts, left_out=(*made.left_out, *left_out))


def _whose(row: PublishedRow) -> tuple[str, str]:
    return row.gpu.slug, row.model.name


def _estimate(row: PublishedRow, estimator: Estimator) -> Estimate:
    return estimator.simulated(row.model, row.config, row.gpu, halvings=FINE if row.boundary else COARSE)


def _compared(row: PublishedRow, estimate: Estimate, estimator: Estimator) -> list[Compared]:
    reserved = estimate.peak_reserved_bytes.value
    pairs = {
        "allocated": (row.allocated_bytes, estimate.peak_allocated_bytes.value),
        "reserved": (row.reserved_bytes, reserved),
        "process": (row.process_bytes, reserved + row.gpu.context_bytes),
    }
    figures = {
        name: Figure(measured_bytes=seen, predicted_bytes=told)
        for name, (seen, told) in pairs.items()
        if seen is not None
    }
    if not figures:
        return []
    return [
        Compared(
            id=row.id,
            source=row.source,
            card=row.gpu.slug,
            model=row.model.name,
            config=row.config,
            figures=figures,
            repeats=row.repeats,
            largest_block_bytes=estimator.largest_block_bytes(row.model, row.config, row.gpu),
        )
    ]


def _verdict(row: PublishedRow, estimate: Estimate) -> list[Verdict]:
    if not row.boundary:
        return []
    return [
        Verdict(
            id=row.id,
            source=row.source,
            card=row.gpu.slug,
            model=row.model.name,
            config=row.config,
            outcome=row.outcome,
            room_bytes=usable_bytes(row.gpu),
            minimum_bytes=estimate.minimum_reserved_bytes,
        )
    ]
