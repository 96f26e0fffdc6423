"""Energy for a thousand tokens, where the card's power could be read."""

from itertools import groupby

from advisor.pictures.axes import decades_axis
from advisor.pictures.document import Cell, Figure, Group, Missing, Panel, Section, Table, columns, text
from advisor.pictures.svg import Mark, drawing, mark, precision_keys, segment
from advisor.profiles.record import Measurement
from bench.report.reading import CardRows, row_order
from bench.report.strips import Strips
from bench.report.words import batch, counted, described, speed, trained, way_words

_TITLE = "Energy"
_CAPTION = (
    "The card's energy for a thousand tokens over the timed steps. Each mark is one row; less is to the left."
)
_TABLE_CAPTION = (
    "The row that takes the least energy for each model and way to train it. Watts are the card's."
)

_ByModel = list[tuple[str, tuple[Measurement, ...]]]


def energy(card: CardRows) -> Section | Missing:
    """A drawing of all rows and a table of the thriftiest."""
    rows = tuple(row for row in card.ran if row.joules_per_token)
    if not rows:
        return Missing(title=_TITLE, why="no row has readings of power")
    by_model = [(model, tuple(part)) for model, part in groupby(rows, key=lambda row: row.model)]
    figure = Figure(
        name="energy",
        caption=_CAPTION,
        keys=precision_keys({row.config.precision for row in rows}),
        panels=(_panel(by_model),),
    )
    return Section(name="energy", title=_TITLE, blocks=(figure, _table(by_model)))


def kilotoken_joules(row: Measurement) -> float:
    """Joules for a thousand tokens."""
    return 1000 * (row.joules_per_token or 0)


def thriftiest(rows: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """For each method and precision the row that takes the least energy."""
    best: dict[str, Measurement] = {}
    for row in sorted(rows, key=lambda r: (-kilotoken_joules(r), r.id)):
        best[trained(row.config)] = row
    return tuple(sorted(best.values(), key=row_order))


def _panel(by_model: _ByModel) -> Panel:
    rows = [row for _, part in by_model for row in part]
    strips = Strips(
        axis=decades_axis("joules for 1,000 tokens", map(kilotoken_joules, rows)), count=len(by_model)
    )
    tracks = [_track(strips, number, model, part) for number, (model, part) in enumerate(by_model)]
    title = "Joules for 1,000 tokens, by model"
    least, most = min(rows, key=kilotoken_joules), max(rows, key=kilotoken_joules)
    told = (
        f"{counted(len(rows), 'row')}, from {kilotoken_joules(least):,.2f} J ({least.model}) "
        f"to {kilotoken_joules(most):,.2f} J ({most.model})."
    )
    return Panel(title=title, svg=drawing("energy-all", title, told, strips.height, *strips.grid(), *tracks))


def _track(strips: Strips, number: int, model: str, rows: tuple[Measurement, ...]) -> str:
    y = strips.track(number)
    places = [strips.across(kilotoken_joules(row)) for row in rows]
    marks = [
        mark(Mark(precision=row.config.precision), x, y, f"{described(row)}, {kilotoken_joules(row):,.2f} J")
        for x, row in zip(places, rows, strict=True)
    ]
    return "".join([strips.words(number, model), segment(min(places), y, max(places), y, "rule"), *marks])


def _table(by_model: _ByModel) -> Table:
    return Table(
        name="thriftiest",
        caption=_TABLE_CAPTION,
        columns=columns("Way", numeric=("Batch", "J for 1,000 tokens", "Mean W", "Most W", "Tokens/s")),
        groups=tuple(
            Group(title=model, rows=tuple(_line(row) for row in thriftiest(rows))) for model, rows in by_model
        ),
    )


def _line(row: Measurement) -> tuple[Cell, ...]:
    return (
        text(way_words(row.config)),
        text(batch(row.config)),
        text(f"{kilotoken_joules(row):,.2f}"),
        text(f"{row.power.watts_mean:,.0f}") if row.power else Cell(),
        text(f"{row.power.watts_max:,.0f}") if row.power else Cell(),
        text(speed(row.tokens_per_second)) if row.tokens_per_second else Cell(),
    )
