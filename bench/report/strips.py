"""A drawing of tracks under each other: some words, and below them a line with marks on one common axis."""

from dataclasses import dataclass

from advisor.pictures.axes import Axis
from advisor.pictures.frame import RIGHT
from advisor.pictures.svg import label, segment

_ABOVE, _EACH, _BELOW = 6.0, 38.0, 40.0
_TO_WORDS, _TO_TRACK = 14.0, 26.0
_LEFT = 12.0
_LETTERS = 60  # of the page's type across the drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """So many tracks over one axis."""

    axis: Axis
    count: int

    @property
    def bottom(self) -> float:
        """Where the axis is."""
        return _ABOVE + _EACH * self.count

    @property
    def height(self) -> float:
        """Of the whole drawing."""
        return self.bottom + _BELOW

    def across(self, value: float) -> float:
        """The horizontal place of a value."""
        return _LEFT + (RIGHT - 4 - _LEFT) * self.axis.share(value)

    def track(self, number: int) -> float:
        """The vertical place of a track, counted from the top."""
        return _ABOVE + _EACH * number + _TO_TRACK

    def words(self, number: int, text: str) -> str:
        """What stands above the track, cut where there is no more room."""
        shown = (
            text if len(text) <= _LETTERS else text[: _LETTERS - 1].rstrip(" ,") + "\N{HORIZONTAL ELLIPSIS}"
        )
        return label(shown, 0, _ABOVE + _EACH * number + _TO_WORDS)

    def grid(self) -> list[str]:
        """Faint lines down at the marks of the axis, its marks, and what it counts."""
        drawn = []
        for value, text in self.axis.ticks:
            x = self.across(value)
            drawn += [
                segment(x, _ABOVE, x, self.bottom, "grid"),
                label(text, x, self.bottom + 14, anchor="middle"),
            ]
        return [*drawn, label(self.axis.title, RIGHT, self.bottom + 32, anchor="end", class_="axis")]
