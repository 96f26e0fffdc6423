"""How far a figure may lie from its prediction at a risk, by the residuals of rows near it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log

RANGE_RISK = 0.05  # of either end: a range from low to high holds 90 % of real outcomes
_HALF = 0.5  # the risk of the prediction itself
_FEWEST = 3  # the worst of fewer rows is taken for the worst of so many


@dataclass(frozen=True, slots=True)
class Spread:
    """How far below and above its prediction a figure may lie, in what its residuals are counted in."""

    below: float  # zero or less
    above: float  # zero or more

    def or_wider(self, other: "Spread") -> "Spread":
        """The farther of both, at each end."""
        return Spread(below=min(self.below, other.below), above=max(self.above, other.above))


def rows_needed(risk: float) -> int:
    """So many rows must there be that the worst of them is exceeded with no more than that risk."""
    return ceil(1 / risk - 1e-9) - 1


def spread(residuals: Sequence[float], risk: float, *, beyond: float, factor: float) -> Spread:
    """Both ends, each at the risk that the next row lies outside; a range always holds its prediction.

    Where the rows bear the risk, an end is one of them: of n rows and the next, each is the k-th largest with the same
    chance. Where they are too few, it is the worst of them, no less than `beyond`, stretched as an exponential tail.
    """
    above = _end(sorted(residuals), risk, beyond)
    below = _end(sorted(-residual for residual in residuals), risk, beyond)
    return Spread(below=-factor * max(below, 0.0), above=factor * max(above, 0.0))


def _end(ascending: Sequence[float], risk: float, beyond: float) -> float:
    count = len(ascending)
    if count >= rows_needed(risk):
        return ascending[ceil((count + 1) * (1 - risk) - 1e-9) - 1]
    worst = max(ascending[-1], beyond) if ascending else beyond
    return worst * max(1.0, log(_HALF / risk) / log(_HALF * (max(count, _FEWEST) + 1)))
