"""The usable memory of other cards across a drawing."""

from advisor.pictures.axes import Axis
from advisor.pictures.frame import BOTTOM, LEFT, RIGHT, TOP, Frame
from advisor.pictures.svg import label, segment
from advisor.units import GIB
from bench.report.card_classes import class_limits

BESIDE = 38.0  # what the names of classes take to the right of a narrower drawing
_LEAST_BETWEEN_ROWS = 12.0  # two labels above each other
_LEAST_BETWEEN_COLUMNS = 34.0  # two labels beside each other


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
