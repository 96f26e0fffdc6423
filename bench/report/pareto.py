"""Tokens per second against memory: what no other row beats in both, one drawing a model."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, pairwise

from advisor.pictures.axes import doubling_axis, linear_axis
from advisor.pictures.document import Figure, Missing, Panel, Section
from advisor.pictures.frame import HEIGHT, LEFT, Frame, grid
from advisor.pictures.svg import Mark, drawing, key, label, mark, path, precision_keys
from advisor.profiles.record import Measurement
from advisor.records import Checkpointing
from advisor.units import gib
from bench.report.panels import class_columns
from bench.report.reading import CardRows, reserved_gib
from bench.report.words import batch, counted, described, speed, way_words

_TITLE = "Speed against memory"
_CAPTION = (
    "Tokens per second against the reserved peak, whose axis is logarithmic. The line joins the rows that no other row beats in both; they are "
    "numbered, and listed below. The others are faint. Vertical lines: the usable memory of smaller classes of card; "
    "the speed is this card's. Methods differ in what they train, and so in more than speed."
)
_LABEL_WIDTH, _LABEL_HEIGHT = 12.0, 10.0


def pareto(card: CardRows) -> Section | Missing:
    """A drawing wherever two rows of a model were timed."""
    panels = tuple(
        _panel(model, tuple(rows)) for model, rows in groupby(_drawn(card), key=lambda row: row.model)
    )
    if not panels:
        return Missing(title=_TITLE, why="no model has two timed rows")
    precision = _drawn(card)[0].config.precision
    keys = (
        *precision_keys({row.config.precision for row in _drawn(card)}),
        key(mark(Mark(precision=precision), 8, 8), "filled: checkpointing"),
        key(mark(Mark(precision=precision, hollow=True), 8, 8), "hollow: no checkpointing"),
    )
    figure = Figure(name="pareto", caption=_CAPTION, keys=keys, panels=panels)
    return Section(name="pareto", title=_TITLE, blocks=(figure,))


def _drawn(card: CardRows) -> tuple[Measurement, ...]:
    timed = [row for row in card.ran if row.tokens_per_second]
    counts: dict[str, int] = defaultdict(int)
    for row in timed:
        counts[row.model] += 1
    return tuple(row for row in timed if counts[row.model] > 1)


def front(rows: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """The rows that no other row beats in memory and speed, from the least memory to the most."""
    best: list[Measurement] = []
    for row in sorted(rows, key=lambda r: (r.peak_reserved_bytes or 0, -(r.tokens_per_second or 0), r.id)):
        if not best or (row.tokens_per_second or 0) > (best[-1].tokens_per_second or 0):
            best.append(row)
    return tuple(best)


def _panel(model: str, rows: tuple[Measurement, ...]) -> Panel:
    frame = Frame(
        x=doubling_axis("GiB reserved", map(reserved_gib, rows), "{:g}".format),
        y=linear_axis("tokens/s", [row.tokens_per_second or 0 for row in rows]),
    )
    best = front(rows)
    beaten = [row for row in rows if row not in best]
    return Panel(
        title=model,
        svg=drawing(
            f"pareto-{model}",
            f"{model}: tokens per second against memory",
            _told(rows, best),
            HEIGHT,
            *grid(frame),
            *class_columns(frame),
            *(_point(frame, row, faint=True) for row in beaten),
            path(_stairs([_place(frame, row) for row in best]), "front"),
            *(_point(frame, row) for row in best),
            *_numbers([_place(frame, row) for row in best]),
        ),
        notes=tuple(_note(row) for row in best),
    )


def _place(frame: Frame, row: Measurement) -> tuple[float, float]:
    return frame.at(reserved_gib(row), row.tokens_per_second or 0)


def _point(frame: Frame, row: Measurement, *, faint: bool = False) -> str:
    config = row.config
    look = Mark(precision=config.precision, hollow=config.checkpointing is Checkpointing.NONE, faint=faint)
    return mark(look, *_place(frame, row), described(row))


def _numbers(places: list[tuple[float, float]]) -> Iterator[str]:
    """Up and to the left, where the front by its nature has no other point, but for one at the axis.

    Those that would cover each other share a label.
    """
    first = 1
    for number, (x, y) in enumerate(places, start=1):
        if number < len(places) and _near((x, y), places[number]):
            continue
        words = str(number) if first == number else f"{first}\N{EN DASH}{number}"
        if x - LEFT < _LABEL_WIDTH:
            yield label(words, x + 5, y - 6, class_="number")
        else:
            yield label(words, x - 5, y - 6, anchor="end", class_="number")
        first = number + 1


def _near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < _LABEL_WIDTH and abs(one[1] - other[1]) < _LABEL_HEIGHT


def _stairs(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What can be had for so much memory: level until the next point, then up."""
    steps = points[:1]
    for (_, y), (x, higher) in pairwise(points):
        steps += [(x, y), (x, higher)]
    return steps


def _note(row: Measurement) -> str:
    return (
        f"{way_words(row.config)}, {batch(row.config)}: {gib(row.peak_reserved_bytes or 0)}, "
        f"{speed(row.tokens_per_second or 0)} tokens/s"
    )


def _told(rows: tuple[Measurement, ...], best: tuple[Measurement, ...]) -> str:
    return f"{counted(len(rows), 'row')}, {len(best)} on the front: " + "; ".join(map(_note, best)) + "."
