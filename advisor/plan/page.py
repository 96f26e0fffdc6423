"""A plan as one page that needs nothing but itself: the choice, what else is worth choosing, why, what lost."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from advisor.files import write_new
from advisor.phases import peak_words
from advisor.pictures.axes import doubling_axis, linear_axis
from advisor.pictures.document import (
    Document,
    Figure,
    Listing,
    Panel,
    Section,
    Table,
    columns,
    only,
    text,
)
from advisor.pictures.frame import HEIGHT, Frame, grid
from advisor.pictures.html import to_html
from advisor.pictures.svg import Mark, drawing, element, key, label, mark, path, precision_keys, segment
from advisor.plan.document import Plan, Point
from advisor.plan.words import shape_words
from advisor.records import Checkpointing
from advisor.units import GIB, gib

_LEAST_BETWEEN = 12.0  # two numbers beside each other
_RING = 8.0


def save_page(plan: Plan, file: Path, *, force: bool = False) -> None:
    """Write the page; an existing file stays, unless `force`."""
    write_new(file, to_html(page(plan)), force=force)


def page(plan: Plan) -> Document:
    """The blocks of the page."""
    fitting = f"{gib(plan.card.usable_bytes)} that the card gives, at a risk of {plan.risk:.1%}"
    return Document(
        title=f"{plan.model.name} on {plan.card.name}",
        lead=f"The best of {plan.examined} configs that were weighed, for the goal {plan.goal}, in the {fitting}. "
        f"The peak is in {peak_words(plan.estimate.peak_phase, plan.estimate.peak_step)}. Basis: {plan.estimate.evidence.text}.",
        sections=(
            Section(name="choice", title="The plan", blocks=(_choices(plan),)),
            Section(name="front", title="What else is worth choosing", blocks=(_picture(plan), _front(plan))),
            Section(name="lost", title="Not chosen", blocks=(_lost(plan),)),
            Section(name="assumed", title="Assumed", blocks=(Listing(items=plan.assumptions),)),
            Section(name="run", title="Run it", blocks=(Listing(items=(f"`{plan.command}`",)),)),
        ),
    )


def _choices(plan: Plan) -> Table:
    return Table(
        name="choices",
        caption="Each dimension, and why it is as it is.",
        columns=columns("Dimension", "Choice", "Why"),
        groups=only(tuple((text(c.name), text(c.value), text(c.reason.text)) for c in plan.choices)),
    )


def _front(plan: Plan) -> Table:
    rows = tuple(
        (
            text(f"{number}. {point.label}"),
            text(shape_words(point.config), *(("the plan",) if point.chosen else ())),
            text(f"{'≥ ' if point.lower_bound else ''}{gib(point.needed_bytes)}"),
            text(f"{point.tokens_per_second:,.0f}"),
            text(f"{point.worth:.2f}"),
        )
        for number, point in enumerate(plan.front, 1)
    )
    return Table(
        name="points",
        caption="Nothing that was weighed is better than one of these in memory, speed and worth at once. Worth is what "
        "`--goal quality` multiplies the speed by; its rules and their sources are in `advisor/plan/quality.toml`.",
        columns=columns("Way", "Shape", numeric=("Needs", "Tokens/s", "Worth")),
        groups=only(rows),
    )


def _lost(plan: Plan) -> Table:
    rows = tuple(
        (
            text(a.label),
            text(f"{'≥ ' if a.lower_bound else ''}{gib(a.needed_bytes)}"),
            text(a.reason.text),
        )
        for a in plan.alternatives
    )
    return Table(
        name="rejected",
        caption="With the number that decided.",
        columns=columns("Way", "Needs", "Why not"),
        groups=only(rows),
    )


def _picture(plan: Plan) -> Figure:
    points = plan.front
    frame = Frame(
        x=doubling_axis(
            "GiB needed", [point.needed_bytes / GIB for point in points] + [_room_gib(plan)], "{:g}".format
        ),
        y=linear_axis("tokens/s", [point.tokens_per_second for point in points]),
    )
    first = points[0].config.precision
    keys = (
        *precision_keys({point.config.precision for point in points}),
        key(mark(Mark(precision=first), 8, 8), "filled: checkpointing"),
        key(mark(Mark(precision=first, hollow=True), 8, 8), "hollow: no checkpointing"),
    )
    edge = frame.across(_room_gib(plan))
    told = "; ".join(f"{_told(point)}" for point in points)
    svg = drawing(
        "plan-front",
        f"{plan.model.name}: tokens per second against memory",
        told,
        HEIGHT,
        *grid(frame),
        segment(edge, frame.top, edge, frame.bottom, "limit"),
        label("the card gives", edge - 3, frame.top - 4, anchor="end", class_="limit-name"),
        path(_stairs([_place(frame, point) for point in _not_beaten(points)]), "front"),
        *(_drawn(frame, number, point) for number, point in _spread(frame, points)),
    )
    return Figure(
        name="front",
        caption="Tokens per second against the memory that is needed, whose axis is logarithmic. The ring is the plan; "
        "numbers are those of the table below; the line joins what nothing beats in these two alone.",
        keys=keys,
        panels=(Panel(title=plan.model.name, svg=svg),),
    )


def _room_gib(plan: Plan) -> float:
    return plan.card.usable_bytes / GIB


def _place(frame: Frame, point: Point) -> tuple[float, float]:
    return frame.at(point.needed_bytes / GIB, point.tokens_per_second)


def _told(point: Point) -> str:
    chosen = " (the plan)" if point.chosen else ""
    speed = f"{point.tokens_per_second:,.0f} tokens/s"
    return f"{point.label}, {shape_words(point.config)}: {gib(point.needed_bytes)}, {speed}{chosen}"


def _spread(frame: Frame, points: Sequence[Point]) -> list[tuple[str, Point]]:
    """Each point with its number, left out where the one before is too near."""
    named: list[tuple[str, Point]] = []
    taken: list[tuple[float, float]] = []
    for number, point in enumerate(points, 1):
        x, y = _place(frame, point)
        near = any(abs(x - a) < _LEAST_BETWEEN and abs(y - b) < _LEAST_BETWEEN for a, b in taken)
        named.append(("" if near and not point.chosen else str(number), point))
        taken.append((x, y))
    return named


def _drawn(frame: Frame, number: str, point: Point) -> str:
    x, y = _place(frame, point)
    look = Mark(precision=point.config.precision, hollow=point.config.checkpointing is Checkpointing.NONE)
    parts = [mark(look, x, y, _told(point))]
    if point.chosen:
        parts.append(element("circle", class_="rule", fill="none", cx=x, cy=y, r=_RING))
    if number:
        parts.append(label(number, x - 9, y - 7, anchor="end", class_="number"))
    return "".join(parts)


def _not_beaten(points: Sequence[Point]) -> list[Point]:
    """In memory and speed alone, from the least memory to the most."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.needed_bytes, -one.tokens_per_second)):
        if not best or point.tokens_per_second > best[-1].tokens_per_second:
            best.append(point)
    return best


def _stairs(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    steps = points[:1]
    for (_, y), (x, higher) in pairwise(points):
        steps += [(x, y), (x, higher)]
    return steps
