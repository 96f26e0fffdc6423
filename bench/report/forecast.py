"""Predicted against measured: how far each prediction lay off, and whether its interval held."""

from dataclasses import dataclass
from itertools import groupby
from statistics import mean, median

from advisor.pictures.axes import Axis, span_axis
from advisor.pictures.document import Cell, Figure, Group, Key, Missing, Panel, Section, Table, columns, text
from advisor.pictures.frame import HEIGHT, LEFT, RIGHT, Frame, grid
from advisor.pictures.svg import Mark, drawing, key, mark, precision_keys, segment, series
from advisor.profiles.record import Measurement
from advisor.records import Precision
from bench.report.reading import CardRows
from bench.report.words import DOT, counted, described, percent

_TITLE = "Predicted against measured"
_TABLE_CAPTION = (
    "Errors by figure and precision: predicted over measured, less one. The mean and the median are of sizes, without "
    "sign. Inside: rows whose measured figure lies in the predicted 90 % interval."
)
_CAPTION = (
    "The error of each reserved peak, with the predicted 90 % interval. Zero is the measured figure: a bar that "
    "reaches it holds the truth. Rows stand from the smallest model to the largest."
)
_DRAWN = "reserved"
_FIGURES = {
    "allocated": "Allocated: what the tensors hold",
    _DRAWN: "Reserved: what must fit",
    "device": "On the card: what NVML counts",
}
# No axis is narrower, so that an error too small to matter looks it.
_LEAST_SPAN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One figure of one row: predicted less measured, over measured; likewise both ends of its interval."""

    row: Measurement
    error: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the interval holds the measured figure."""
        return self.low <= 0 <= self.high


def forecast(card: CardRows) -> Section | Missing:
    """A table over all figures and a drawing of the reserved one for each precision."""
    reserved = misses(card, _DRAWN)
    if not reserved:
        return Missing(title=_TITLE, why="no row has both a prediction and a measured peak")
    return Section(name="forecast", title=_TITLE, blocks=(_table(card), _figure(reserved)))


def misses(card: CardRows, figure: str) -> tuple[Miss, ...]:
    """Those of the figure, in the order of the rows; of rows that had the whole card."""
    found = []
    for row in card.ran:
        one = card.figures.get(row.id, {}).get(figure)
        if one is not None and one.low_bytes is not None and one.high_bytes is not None:
            low, error, high = (
                value / one.measured_bytes - 1
                for value in (one.low_bytes, one.predicted_bytes, one.high_bytes)
            )
            found.append(Miss(row=row, error=error, low=low, high=high))
    return tuple(found)


def _table(card: CardRows) -> Table:
    found = {title: misses(card, figure) for figure, title in _FIGURES.items()}
    return Table(
        name="errors",
        caption=_TABLE_CAPTION,
        columns=columns("Base", numeric=("Rows", "Mean", "Median", "Worst under", "Worst over", "Inside")),
        groups=tuple(
            Group(title=title, rows=tuple(_summary(name, part) for name, part in by_precision(off).items()))
            for title, off in found.items()
            if off
        ),
    )


def by_precision(off: tuple[Miss, ...]) -> dict[Precision, tuple[Miss, ...]]:
    """In the usual order of precisions, without those that have none."""
    parts = {p: tuple(m for m in off if m.row.config.precision is p) for p in Precision}
    return {precision: part for precision, part in parts.items() if part}


def _summary(precision: Precision, off: tuple[Miss, ...]) -> tuple[Cell, ...]:
    errors = [miss.error for miss in off]
    sizes = [abs(error) for error in errors]
    return (
        text(precision.value),
        text(str(len(off))),
        text(f"{mean(sizes):.2%}"),
        text(f"{median(sizes):.2%}"),
        text(percent(min(0.0, *errors))),
        text(percent(max(0.0, *errors))),
        text(f"{sum(miss.inside for miss in off)} of {len(off)}"),
    )


def _figure(off: tuple[Miss, ...]) -> Figure:
    parts = by_precision(off)
    axis = _axis(off)
    return Figure(
        name="forecast",
        caption=_CAPTION,
        keys=_keys(off),
        panels=tuple(_panel(precision, part, axis) for precision, part in parts.items()),
    )


def _axis(off: tuple[Miss, ...]) -> Axis:
    """The same for every precision, so that they can be compared; in per cent."""
    low = min(-_LEAST_SPAN, *(min(m.low, m.error) for m in off))
    high = max(_LEAST_SPAN, *(max(m.high, m.error) for m in off))
    return span_axis("error of the reserved peak, %", 100 * low, 100 * high)


def _keys(off: tuple[Miss, ...]) -> tuple[Key, ...]:
    parts = by_precision(off)
    plain = next(iter(parts))
    keys = [
        *precision_keys(set(parts)),
        key(segment(8, 1, 8, 15, f"interval {series(plain)}"), "90 % interval"),
    ]
    if not all(miss.inside for miss in off):
        keys.append(key(mark(Mark(precision=plain, hollow=True), 8, 8), "hollow: outside its interval"))
    return tuple(keys)


def _panel(precision: Precision, off: tuple[Miss, ...], y: Axis) -> Panel:
    places = _places(off)
    x = Axis(title="rows, by model", low=-1.0, high=places[-1] + 1.0, ticks=())
    frame = Frame(x=x, y=y)
    points = [_point(frame, place, miss) for place, miss in zip(places, off, strict=True)]
    zero = segment(LEFT, frame.up(0), RIGHT, frame.up(0), "rule")
    name, title = f"forecast-{precision.value}", f"{precision.value}, {counted(len(off), 'row')}"
    return Panel(title=title, svg=drawing(name, title, _told(off), HEIGHT, *grid(frame), zero, *points))


def _places(off: tuple[Miss, ...]) -> list[float]:
    """One place a row, with a gap between models."""
    places: list[float] = []
    for _, part in groupby(off, key=lambda miss: miss.row.model):
        begin = places[-1] + 2.0 if places else 0.0
        places += [begin + n for n, _ in enumerate(part)]
    return places


def _point(frame: Frame, place: float, miss: Miss) -> str:
    precision = miss.row.config.precision
    x = frame.across(place)
    bar = segment(x, frame.up(100 * miss.low), x, frame.up(100 * miss.high), f"interval {series(precision)}")
    told = f"{described(miss.row)} {DOT} predicted {percent(miss.error)}"
    return bar + mark(Mark(precision=precision, hollow=not miss.inside), x, frame.up(100 * miss.error), told)


def _told(off: tuple[Miss, ...]) -> str:
    errors = [miss.error for miss in off]
    return (
        f"Errors from {percent(min(errors))} to {percent(max(errors))}; "
        f"{sum(miss.inside for miss in off)} of {len(off)} rows lie in their interval."
    )
