"""A drawing with two axes: where it lies, its grid, and what is written along it."""

from dataclasses import dataclass

from advisor.pictures.axes import Axis
from advisor.pictures.svg import label, segment

HEIGHT = 250.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 350.0, 30.0, 208.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two axes and the place that they span."""

    x: Axis
    y: Axis
    right: float = RIGHT
    top: float = TOP
    bottom: float = BOTTOM

    def across(self, value: float) -> float:
        """The horizontal place of a value."""
        return LEFT + (self.right - LEFT) * self.x.share(value)

    def up(self, value: float) -> float:
        """The vertical place of a value; larger is higher."""
        return self.bottom - (self.bottom - self.top) * self.y.share(value)

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
        drawn.append(segment(LEFT, frame.bottom, frame.right, frame.bottom, "rule"))
    for value, words in frame.x.ticks:
        x = frame.across(value)
        drawn.append(segment(x, frame.bottom, x, frame.bottom + 4, "rule"))
        drawn.append(label(words, x, frame.bottom + 17, anchor="middle"))
    drawn.append(label(frame.x.title, frame.right, frame.bottom + 35, anchor="end", class_="axis"))
    return drawn
