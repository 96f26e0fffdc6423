"""Errors of many rows summed up: in all, and by each field that rows are told apart by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from bench.accuracy.caps import WITH_RETRIES, WITHOUT_RETRIES
from bench.accuracy.compared import RISKS, Compared, Figure

PEAKS = ("allocated", "reserved", "device", "process")  # each with a predicted range
OTHERS = ("static", WITHOUT_RETRIES, WITH_RETRIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The errors of one figure over a group of rows."""

    group: str
    figure: str
    count: int
    mean_absolute: float
    median_absolute: float
    worst_under: float  # zero or less
    worst_over: float  # zero or more
    covered: float | None  # share of rows in the predicted range; None where no range is predicted


def summarise(group: str, figure: str, figures: Sequence[Figure]) -> Summary:
    """The errors of at least one figure."""
    errors = [f.error for f in figures]
    inside = [f.inside for f in figures if f.inside is not None]
    return Summary(
        group=group,
        figure=figure,
        count=len(errors),
        mean_absolute=mean(abs(e) for e in errors),
        median_absolute=median(abs(e) for e in errors),
        worst_under=min(0.0, *errors),
        worst_over=max(0.0, *errors),
        covered=mean(inside) if inside else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRisk:
    """How often rows reserved more than was said to be needed at a risk, and what that kept free."""

    risk: float
    count: int
    exceeded: float  # share of the rows
    mean_margin: float  # shares of the predicted peak
    median_margin: float


def at_risks(rows: Sequence[Compared]) -> list[AtRisk]:
    """One for each risk of `RISKS`; none where no row has a reserved peak."""
    told = [(row, row.figures["reserved"]) for row in rows if row.needed_bytes]
    return [_at_risk(risk, told) for risk in RISKS] if told else []


def _at_risk(risk: str, told: Sequence[tuple[Compared, Figure]]) -> AtRisk:
    margins = [row.needed_bytes[risk] / figure.predicted_bytes - 1 for row, figure in told]
    return AtRisk(
        risk=float(risk),
        count=len(told),
        exceeded=mean(figure.measured_bytes > row.needed_bytes[risk] for row, figure in told),
        mean_margin=mean(margins),
        median_margin=median(margins),
    )


def counted(rows: Iterable[Compared]) -> list[Compared]:
    """The rows that count; repeats of one config would count several times."""
    return [row for row in rows if not row.repeats]


def summaries(group: str, rows: Sequence[Compared], names: Iterable[str] = PEAKS) -> list[Summary]:
    """A summary for each figure that some row of the group has."""
    found = []
    for name in names:
        figures = [row.figures[name] for row in rows if name in row.figures]
        if figures:
            found.append(summarise(group, name, figures))
    return found


def grouped(rows: Sequence[Compared], by: str) -> list[Summary]:
    """The summaries of each group of rows that have the same value in that field."""
    values = sorted({row.facts()[by] for row in rows})
    return [
        summary
        for value in values
        for summary in summaries(value, [r for r in rows if r.facts()[by] == value])
    ]


def by_phase(rows: Sequence[Compared]) -> list[Summary]:
    """The allocated peak of each phase that was measured and predicted."""
    names = list(dict.fromkeys(name for row in rows for name in row.phases))
    return [
        summarise(name, "allocated", [row.phases[name] for row in rows if name in row.phases])
        for name in names
    ]


def spread(rows: Sequence[Compared], figure: str) -> tuple[int, float]:
    """How many configs were measured several times, and the widest range of one's own figures, as a share."""
    measured: dict[str, list[int]] = {}
    for row in rows:
        if figure in row.figures:
            measured.setdefault(row.repeats or row.id, []).append(row.figures[figure].measured_bytes)
    ranges = [max(values) / min(values) - 1 for values in measured.values() if len(values) > 1]
    return len(ranges), max(ranges, default=0.0)
