"""Axes: a range, where its marks are, and how far along it a value lies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, floor, log2, log10

from advisor.units import short_tokens

_STEPS = (1, 2, 2.5, 5, 10)
_LEAST_RATIO = 4.0  # of a logarithmic axis, so that near values stay near


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis; `ticks` are values with what is written at them."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """How far along the axis the value lies: 0 at its low end, 1 at its high one."""
        if self.logarithmic:
            return (log2(value) - log2(self.low)) / (log2(self.high) - log2(self.low))
        return (value - self.low) / (self.high - self.low)


def linear_axis(title: str, values: Iterable[float], *, marks: int = 5) -> Axis:
    """From zero, or from below it, to a round number above the largest value."""
    known = list(values)
    return span_axis(title, min(0.0, *known, 0.0), max(0.0, *known, 0.0), marks=marks)


def span_axis(title: str, low: float, high: float, *, marks: int = 5, unit: str = "") -> Axis:
    """Round numbers around the two ends."""
    step = _round_step((high - low or 1.0) / marks)
    first, last = floor(low / step + 1e-9), max(ceil(high / step - 1e-9), floor(low / step) + 1)
    ticks = tuple((step * n, _number(step * n, step) + unit) for n in range(first, last + 1))
    return Axis(title=title, low=ticks[0][0], high=ticks[-1][0], ticks=ticks)


def doubling_axis(title: str, values: Iterable[float], words: Callable[[float], str]) -> Axis:
    """Powers of two around the values; at most seven are written."""
    known = list(values)
    low, high = floor(log2(min(known))), ceil(log2(max(known)))
    if high - low < log2(_LEAST_RATIO):
        low, high = low - 1, high + 1
    every = ceil((high - low) / 6)
    ticks = tuple((2.0**n, words(2.0**n)) for n in range(low, high + 1, every))
    return Axis(title=title, low=2.0**low, high=2.0**high, ticks=ticks, logarithmic=True)


def tokens_axis(values: Iterable[float]) -> Axis:
    """Tokens in one forward pass, called as context lengths are."""
    return doubling_axis("tokens in one forward pass", values, short_tokens)


def decades_axis(title: str, values: Iterable[float]) -> Axis:
    """1, 2 and 5 times powers of ten around the values."""
    known = list(values)
    marks = [
        m * 10.0**n
        for n in range(floor(log10(min(known))) - 1, ceil(log10(max(known))) + 1)
        for m in (1, 2, 5)
    ]
    low = max(m for m in marks if m <= min(known) * (1 + 1e-9))
    high = min(m for m in marks if m >= max(known) and m > low)
    shown = [m for m in marks if low <= m <= high]
    every = ceil(len(shown) / 7)
    ticks = tuple((m, f"{m:,g}") for m in shown[::every])
    return Axis(title=title, low=low, high=high, ticks=ticks, logarithmic=True)


def _round_step(least: float) -> float:
    power = 10.0 ** floor(log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def _number(value: float, step: float) -> str:
    """With as many decimals as the step has, and no minus before zero."""
    decimals = max(0, -floor(log10(step) + 1e-9))
    if round(step * 10**decimals, 6) % 1:
        decimals += 1
    text = f"{value:,.{decimals}f}"
    return (
        text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "\N{MINUS SIGN}")
    )
