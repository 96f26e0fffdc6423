"""Memory against tokens, by precision: one drawing for each model and method."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, pairwise

from advisor.pictures.axes import doubling_axis, tokens_axis
from advisor.pictures.document import Figure, Key, Missing, Panel, Section
from advisor.pictures.frame import HEIGHT, RIGHT, Frame, grid
from advisor.pictures.svg import Mark, drawing, key, mark, path, precision_keys, segment, series
from advisor.profiles.record import Measurement
from advisor.records import Checkpointing, Loss, TrainConfig
from advisor.units import gib, short_tokens
from bench.report.panels import BESIDE, class_rows
from bench.report.reading import CardRows, reserved_gib
from bench.report.words import counted, described, method_words, tokens, way

_TITLE = "Memory against tokens"
_CAPTION = (
    "Reserved peak against the tokens of one forward pass; both axes are logarithmic. A line joins rows that "
    "differ in the batch alone; it adds the same bytes for every token, and so bends here. Dotted: the usable memory of "
    "smaller classes of card."
)
_PLACES = 10  # straight pieces of a bent line


def growth(card: CardRows) -> Section | Missing:
    """A drawing wherever two batches of different size ran."""
    panels = tuple(
        _panel(model, tuple(rows))
        for (model, _), rows in groupby(_drawn(card), key=lambda row: (row.model, row.config.method))
    )
    if not panels:
        return Missing(title=_TITLE, why="no model ran with batches of two sizes")
    figure = Figure(name="growth", caption=_CAPTION, keys=_keys(_drawn(card)), panels=panels)
    return Section(name="growth", title=_TITLE, blocks=(figure,))


def _drawn(card: CardRows) -> tuple[Measurement, ...]:
    sizes = defaultdict(set)
    for row in card.ran:
        sizes[row.model, row.config.method].add(tokens(row.config))
    return tuple(row for row in card.ran if len(sizes[row.model, row.config.method]) > 1)


def _keys(rows: tuple[Measurement, ...]) -> tuple[Key, ...]:
    shown = list(precision_keys({row.config.precision for row in rows}))
    precision = rows[0].config.precision
    shown.append(key(mark(Mark(precision=precision), 8, 8), "filled: checkpointing"))
    shown.append(key(mark(Mark(precision=precision, hollow=True), 8, 8), "hollow: no checkpointing"))
    joined = {config.loss for (_, config), alike in _ways(rows).items() if len(alike) > 1}
    shown += [
        key(segment(0, 8, 16, 8, f"{_curve(loss)} {series(precision)}"), f"{loss.value} loss")
        for loss in Loss
        if loss in joined
    ]
    return tuple(shown)


def _ways(rows: tuple[Measurement, ...]) -> dict[tuple[str, TrainConfig], list[Measurement]]:
    ways: dict[tuple[str, TrainConfig], list[Measurement]] = defaultdict(list)
    for row in rows:
        ways[row.model, way(row.config)].append(row)
    return ways


def _curve(loss: Loss) -> str:
    return "curve stock" if loss is Loss.STOCK else "curve"


def _panel(model: str, rows: tuple[Measurement, ...]) -> Panel:
    frame = Frame(
        x=tokens_axis(tokens(row.config) for row in rows),
        y=doubling_axis("GiB reserved", map(reserved_gib, rows), "{:g}".format),
        right=RIGHT - BESIDE,
    )
    method = rows[0].config.method
    name, title = f"growth-{model}-{method.value}", f"{model}, {method_words(method)}"
    points = [
        mark(_look(row), *frame.at(tokens(row.config), reserved_gib(row)), described(row)) for row in rows
    ]
    return Panel(
        title=title,
        svg=drawing(
            name, title, _told(rows), HEIGHT, *grid(frame), *class_rows(frame), *_curves(frame, rows), *points
        ),
    )


def _curves(frame: Frame, rows: tuple[Measurement, ...]) -> list[str]:
    return [
        path(
            [frame.at(x, y) for x, y in _between([(tokens(r.config), reserved_gib(r)) for r in alike])],
            f"{_curve(config.loss)} {series(config.precision)}",
        )
        for (_, config), alike in _ways(rows).items()
        if len(alike) > 1
    ]


def _between(points: list[tuple[int, float]]) -> Iterator[tuple[float, float]]:
    """The points in order, with places between them where bytes grow evenly with tokens."""
    ordered = sorted(points)
    yield ordered[0]
    for (x, y), (next_x, next_y) in pairwise(ordered):
        for n in range(1, _PLACES + 1):
            tokens_here = x * (next_x / x) ** (n / _PLACES)
            share = (tokens_here - x) / (next_x - x) if next_x > x else n / _PLACES
            yield tokens_here, y + share * (next_y - y)


def _look(row: Measurement) -> Mark:
    return Mark(precision=row.config.precision, hollow=row.config.checkpointing is Checkpointing.NONE)


def _told(rows: tuple[Measurement, ...]) -> str:
    least, most = min(rows, key=reserved_gib), max(rows, key=reserved_gib)
    return (
        f"{counted(len(rows), 'row')}, from {gib(least.peak_reserved_bytes or 0)} at {short_tokens(tokens(least.config))} "
        f"tokens ({least.config.precision.value}) to {gib(most.peak_reserved_bytes or 0)} at "
        f"{short_tokens(tokens(most.config))} tokens ({most.config.precision.value})."
    )
