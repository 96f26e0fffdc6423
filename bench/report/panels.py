"""A drawing with two axes: where it lies, its grid, and the usable memory of other cards across it."""

from dataclasses import dataclass

from advisor.units import GIB
from bench.report.axes import Axis
from bench.report.card_classes import class_limits
from bench.report.svg import label, segment

HEIGHT = 250.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 350.0, 30.0, 208.0
BESIDE = 38.0  # what the names of classes take to the right of a narrower drawing
_LEAST_BETWEEN_ROWS = 12.0  # two labels above each other
_LEAST_BETWEEN_COLUMNS = 34.0  # two labels beside each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two axes and the place that they span."""

    x: Axis
    y: Axis
    right: float = RIGHT

    def across(self, value: float) -> float:
        """The horizontal place of a value."""
        return LEFT + (self.right - LEFT) * self.x.share(value)

    def up(self, value: float) -> float:
        """The vertical place of a value; larger is higher."""
        return BOTTOM - (BOTTOM - TOP) * self.y.share(value)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point."""
        return self.across(x), self.up(y)


def grid(frame: Frame) -> list[str]:
    """Faint lines at the marks of the y axis, the marks of both, and what the axes count."""
    drawn = [label(frame.y.title, 0, 14, class_="axis")]
    for value, words in frame.y.ticks:
        y = frame.up(value)
        drawn += [segment(LEFT, y, frame.right, y, "grid"), label(words, LEFT - 6, y + 3.8, anchor="end")]
    if frame.x.ticks:
        drawn.append(segment(LEFT, BOTTOM, frame.right, BOTTOM, "rule"))
    for value, words in frame.x.ticks:
        x = frame.across(value)
        drawn.append(segment(x, BOTTOM, x, BOTTOM + 4, "rule"))
        drawn.append(label(words, x, BOTTOM + 17, anchor="middle"))
    drawn.append(label(frame.x.title, frame.right, BOTTOM + 35, anchor="end", class_="axis"))
    return drawn


def class_rows(frame: Frame) -> list[str]:
    """The usable memory of each class of card as a line across; where two are near, only the larger."""
    drawn: list[str] = []
    above = -_LEAST_BETWEEN_ROWS
    for size, value in _limits(frame.y):
        y = frame.up(value)
        if y - above < _LEAST_BETWEEN_ROWS or y < TOP:
            continue
        drawn += [
            segment(LEFT, y, frame.right, y, "limit"),
            label(f"{size} GB", frame.right + 5, y + 3.5, class_="limit-name"),
        ]
        above = y
    return drawn


def class_columns(frame: Frame) -> list[str]:
    """The usable memory of each class of card as a line down; where two are near, only the larger."""
    drawn: list[str] = []
    after = RIGHT + 2 * _LEAST_BETWEEN_COLUMNS
    for size, value in _limits(frame.x):
        x = frame.across(value)
        if after - x < _LEAST_BETWEEN_COLUMNS:
            continue
        drawn += [
            segment(x, TOP, x, BOTTOM, "limit"),
            label(f"{size} GB", x, TOP - 4, anchor="middle", class_="limit-name"),
        ]
        after = x
    return drawn


def _limits(axis: Axis) -> list[tuple[int, float]]:
    """Those on the axis, largest first."""
    limits = [(size, usable / GIB) for size, usable in class_limits()]
    return [(size, value) for size, value in reversed(limits) if axis.low < value < axis.high]
