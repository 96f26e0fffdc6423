"""Own rows beside their predictions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.estimate import COARSE, FINE, Estimator
from advisor.profiles.record import Measurement, Outcome
from advisor.records import ByteInterval, Estimate, GpuSpec, ModelSpec, Precision
from advisor.residuals.table import MEMORY, shipped
from bench.accuracy.caps import cap_figures
from bench.accuracy.compared import OWN, Accuracy, Compared, Figure, LeftOut, Verdict
from bench.accuracy.ranges import with_ranges

_WITH_OUTLIERS = (1, 2)  # ways of measuring whose random weights gave outlier columns (profiles/README.md)
_RAN = (Outcome.OK, Outcome.OOM)  # what a prediction can be wrong about


@dataclass(frozen=True, slots=True)
class Scored:
    """One measured row and what was predicted for it."""

    row: Measurement
    estimate: Estimate


def score(rows: Iterable[Measurement], estimator: Estimator) -> list[Scored]:
    """Every `ok` row that had the whole card beside its prediction; missing tapes are traced first, in parallel.

    Raises: AdvisorError where a step can't be traced.
    """
    free = [row for row in rows if row.outcome is Outcome.OK and row.cap_bytes is None]
    _prepare(free, estimator)
    return [Scored(row, _estimate(row, estimator)) for row in free]


def compare_rows(rows: Iterable[Measurement], estimator: Estimator) -> Accuracy:
    """What the report says of own rows. A row that can't be predicted is left out, with the reason."""
    asked = [row for row in rows if row.outcome in _RAN]
    _prepare(asked, estimator)
    compared, verdicts, left_out = [], [], []
    for row in asked:
        try:
            one = Scored(row, _estimate(row, estimator))
            if row.outcome is Outcome.OK and row.cap_bytes is None:
                compared.append(_compared(one, estimator))
            if row.outcome is Outcome.OOM or row.cap_bytes is not None:
                verdicts.extend(_verdict(one))
        except AdvisorError as error:
            left_out.append(LeftOut(source=OWN, reason=f"{row.model}: {error.what}", count=1))
    found = Accuracy(compared=tuple(compared), verdicts=tuple(verdicts), left_out=tuple(left_out))
    return with_ranges(found, shipped(MEMORY))


def _prepare(rows: Sequence[Measurement], estimator: Estimator) -> None:
    """Have the tapes of all rows made at once, where model and card are known."""
    ordered = sorted(rows, key=_whose)
    for _, same in groupby(ordered, key=_whose):
        of_model = list(same)
        try:
            model, gpu = _parts(of_model[0])
        except AdvisorError:
            continue  # each row of it will say so
        estimator.prepare(model, [row.config for row in of_model], gpu)


def _whose(row: Measurement) -> tuple[str, str]:
    return row.card, row.model


def _parts(row: Measurement) -> tuple[ModelSpec, GpuSpec]:
    return find_model(row.model)[0], find_gpu(row.card)[0]


def _estimate(row: Measurement, estimator: Estimator) -> Estimate:
    model, gpu = _parts(row)
    fine = row.smallest_cap is not None or row.cap_bytes is not None or row.outcome is Outcome.OOM
    return estimator.simulated(model, row.config, gpu, halvings=FINE if fine else COARSE)


def _compared(one: Scored, estimator: Estimator) -> Compared:
    row, estimate = one.row, one.estimate
    model, gpu = _parts(row)
    phases = dict(estimate.phases)
    return Compared(
        id=row.id,
        source=OWN,
        card=row.card,
        model=row.model,
        config=row.config,
        figures={
            **_against(row.peak_allocated_bytes, estimate.peak_allocated_bytes, "allocated"),
            **_against(row.peak_reserved_bytes, estimate.peak_reserved_bytes, "reserved"),
            **_against(None if row.shared else row.peak_device_bytes, estimate.peak_device_bytes, "device"),
            **_exact(row.static_bytes, estimate.static_bytes, "static"),
            **cap_figures(row, estimate, estimator, model, gpu),
        },
        phases={
            name: Figure(measured_bytes=peaks.peak_allocated_bytes, predicted_bytes=phases[name])
            for name, peaks in row.phases.items()
            if phases.get(name) and peaks.peak_allocated_bytes
        },
        largest_block_bytes=estimator.largest_block_bytes(model, row.config, gpu),
        outliers=row.config.precision is Precision.INT8 and row.benchmark_version in _WITH_OUTLIERS,
    )


def _against(measured: int | None, predicted: ByteInterval | None, name: str) -> dict[str, Figure]:
    if measured is None or predicted is None:
        return {}
    return {name: Figure(measured_bytes=measured, predicted_bytes=predicted.value)}


def _exact(measured: int | None, predicted: int, name: str) -> dict[str, Figure]:
    return {} if not measured else {name: Figure(measured_bytes=measured, predicted_bytes=predicted)}


def _verdict(one: Scored) -> list[Verdict]:
    row = one.row
    if row.cap_bytes is None and row.shared:
        return []  # how much of the card was free nobody knows
    gpu = find_gpu(row.card)[0]
    return [
        Verdict(
            id=row.id,
            source=OWN,
            card=row.card,
            model=row.model,
            config=row.config,
            outcome=row.outcome.value,
            room_bytes=row.cap_bytes or usable_bytes(gpu),
            minimum_bytes=one.estimate.minimum_reserved_bytes,
        )
    ]
