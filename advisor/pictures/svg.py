"""SVG by hand: elements, and the marks that tell precisions apart by shape as well as by colour.

Colours are classes of the page's style, so that one drawing serves light and dark.
"""

from dataclasses import dataclass
from html import escape

from advisor.pictures.document import Key
from advisor.records import Precision

WIDTH = 360  # units of a drawing; a phone shows about one pixel for each
_RADIUS = 4.6

# Outlines around the origin, of like weight to the eye.
_OUTLINES = {
    Precision.FP32: ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    Precision.FP16: ((0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)),
    Precision.INT8: ((0.0, -1.15), (1.1, 0.8), (-1.1, 0.8)),
    Precision.NF4: ((0.0, 1.15), (-1.1, -0.8), (1.1, -0.8)),
    Precision.NF4_SINGLE: ((-0.5, -1.2), (0.5, -1.2), (0.5, 1.2), (-0.5, 1.2)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How one point looks: its precision, whether it is filled, and whether it steps back."""

    precision: Precision
    hollow: bool = False
    faint: bool = False


def element(name: str, *children: str, **attributes: str | float) -> str:
    """One element; children are markup already. `_` in a name stands for `-`; a last one is dropped."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
    )
    inside = "".join(children)
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def drawing(  # noqa: PLR0913 - each is a part of the element
    name: str, title: str, text: str, height: float, *children: str, width: float = WIDTH, class_: str = ""
) -> str:
    """A whole drawing, with what a screen reader says of it."""
    named = {"class_": class_} if class_ else {}
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(text), id=f"{name}-desc"),
        *children,
        viewBox=f"0 0 {_attribute(width)} {_attribute(height)}",
        **named,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def label(words: str, x: float, y: float, *, anchor: str = "start", class_: str = "tick") -> str:
    """Text whose baseline begins, ends or is centred at the place."""
    return element("text", escape(words), class_=class_, x=x, y=y, text_anchor=anchor)


def segment(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return element("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def path(points: list[tuple[float, float]], class_: str) -> str:
    """An open line through the points."""
    return element("polyline", class_=class_, points=_points(points))


def mark(look: Mark, x: float, y: float, told: str = "") -> str:
    """The precision's shape at the place; `told` is what pointing at it says."""
    classes = ["mark", series(look.precision)]
    classes += ["hollow"] * look.hollow + ["faint"] * look.faint
    inside = (element("title", escape(told)),) if told else ()
    if look.precision not in _OUTLINES:
        return element("circle", *inside, class_=" ".join(classes), cx=x, cy=y, r=_RADIUS * 0.95)
    corners = [(x + _RADIUS * dx, y + _RADIUS * dy) for dx, dy in _OUTLINES[look.precision]]
    return element("polygon", *inside, class_=" ".join(classes), points=_points(corners))


def cross(precision: Precision, x: float, y: float, told: str = "") -> str:
    """Where memory ran out."""
    r = _RADIUS
    inside = (element("title", escape(told)),) if told else ()
    strokes = f"M{_attribute(x - r)} {_attribute(y - r)}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}"
    return element("path", *inside, class_=f"cross {series(precision)}", d=strokes)


def series(precision: Precision) -> str:
    """The class that gives a precision its colour."""
    return f"s-{precision.value}"


def key(svg: str, words: str) -> Key:
    """A legend's entry around a mark that was drawn at 8, 8."""
    return Key(svg=element("svg", svg, viewBox="0 0 16 16", class_="key", aria_hidden="true"), label=words)


def precision_keys(precisions: set[Precision]) -> tuple[Key, ...]:
    """A legend's entries for the precisions, in their usual order."""
    return tuple(
        key(mark(Mark(precision=precision), 8, 8), precision.value)
        for precision in Precision
        if precision in precisions
    )


def _points(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{_attribute(x)},{_attribute(y)}" for x, y in points)


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
