"""Where memory ran out: the largest batch that ran, and the smallest that did not."""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby

from advisor.pictures.axes import Axis, tokens_axis
from advisor.pictures.document import Cell, Figure, Group, Missing, Panel, Section, Table, columns, text
from advisor.pictures.svg import Mark, cross, drawing, key, mark, precision_keys, segment, series
from advisor.profiles.record import Measurement, Outcome
from advisor.units import gib
from bench.report.reading import CardRows, row_order
from bench.report.strips import Strips
from bench.report.words import batch, described, short_way, tokens, way, way_words

_TITLE = "Where memory ran out"
_CAPTION = (
    "For each way to train under one limit: the largest batch that ran, and the smallest that did not. Between them lies "
    "the edge. Ways that never ran out are left out."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One way to train under one limit."""

    cap_bytes: int | None
    largest_ran: Measurement | None
    smallest_oom: Measurement

    @property
    def title(self) -> str:
        """The way and the limit."""
        return f"{short_way(self.smallest_oom.config)}, {self.limit}"

    @property
    def limit(self) -> str:
        """How much memory there was."""
        return "whole card" if self.cap_bytes is None else f"cap {gib(self.cap_bytes)}"

    @property
    def known(self) -> tuple[Measurement, ...]:
        """Its rows."""
        return (self.smallest_oom,) if self.largest_ran is None else (self.largest_ran, self.smallest_oom)


def edges(card: CardRows) -> tuple[Edge, ...]:
    """Each way and limit that has an `oom` row, in the order of the rows."""
    alike: dict[object, list[Measurement]] = defaultdict(list)
    for row in card.current:
        alike[row.model, way(row.config), row.cap_bytes].append(row)
    found = []
    for rows in alike.values():
        ran = [row for row in rows if row.outcome is Outcome.OK]
        out = [row for row in rows if row.outcome is Outcome.OOM]
        if out:
            largest = max(ran, key=lambda r: (tokens(r.config), r.id), default=None)
            smallest = min(out, key=lambda r: (tokens(r.config), r.id))
            found.append(Edge(cap_bytes=smallest.cap_bytes, largest_ran=largest, smallest_oom=smallest))
    return tuple(sorted(found, key=_edge_order))


def _edge_order(edge: Edge) -> tuple[object, ...]:
    """By model and way; of one way the whole card first, then caps, smallest first."""
    return row_order(replace(edge.smallest_oom, config=way(edge.smallest_oom.config)))


def frontier(card: CardRows) -> Section | Missing:
    """A drawing a model, and a table."""
    found = edges(card)
    if not found:
        return Missing(title=_TITLE, why="no row ran out of memory")
    rows = [row for edge in found for row in edge.known]
    axis = tokens_axis(tokens(row.config) for row in rows)
    by_model = [(model, tuple(part)) for model, part in groupby(found, key=lambda e: e.smallest_oom.model)]
    precision = rows[0].config.precision
    keys = (
        *precision_keys({row.config.precision for row in rows}),
        key(cross(precision, 8, 8), "ran out of memory"),
    )
    figure = Figure(
        name="frontier",
        caption=_CAPTION,
        keys=keys,
        panels=tuple(_panel(model, part, axis) for model, part in by_model),
    )
    return Section(name="frontier", title=_TITLE, blocks=(figure, _table(by_model)))


def _panel(model: str, found: tuple[Edge, ...], axis: Axis) -> Panel:
    strips = Strips(axis=axis, count=len(found))
    tracks = [_track(strips, number, edge) for number, edge in enumerate(found)]
    title = f"{model}: where memory ran out"
    told = "; ".join(
        f"{edge.title}: {_ran(edge)} ran, {batch(edge.smallest_oom.config)} did not" for edge in found
    )
    svg = drawing(f"frontier-{model}", title, f"{told}.", strips.height, *strips.grid(), *tracks)
    return Panel(title=model, svg=svg)


def _ran(edge: Edge) -> str:
    return "nothing" if edge.largest_ran is None else batch(edge.largest_ran.config)


def _track(strips: Strips, number: int, edge: Edge) -> str:
    precision, y = edge.smallest_oom.config.precision, strips.track(number)
    end = strips.across(tokens(edge.smallest_oom.config))
    drawn = [strips.words(number, edge.title)]
    if edge.largest_ran is not None:
        begin = strips.across(tokens(edge.largest_ran.config))
        drawn += [
            segment(begin, y, end, y, f"curve {series(precision)}"),
            mark(Mark(precision=precision), begin, y, described(edge.largest_ran)),
        ]
    return "".join([*drawn, cross(precision, end, y, described(edge.smallest_oom))])


def _table(by_model: list[tuple[str, tuple[Edge, ...]]]) -> Table:
    return Table(
        name="edges",
        caption="The same in numbers, with the reserved peak of the largest batch that ran.",
        columns=columns("Way", "Limit", numeric=("Largest that ran", "Reserved", "Smallest that did not")),
        groups=tuple(
            Group(title=model, rows=tuple(_line(edge) for edge in found)) for model, found in by_model
        ),
    )


def _line(edge: Edge) -> tuple[Cell, ...]:
    ran = edge.largest_ran
    return (
        text(way_words(edge.smallest_oom.config)),
        text(edge.limit),
        text(batch(ran.config)) if ran else Cell(),
        text(gib(ran.peak_reserved_bytes)) if ran and ran.peak_reserved_bytes else Cell(),
        text(batch(edge.smallest_oom.config)),
    )
