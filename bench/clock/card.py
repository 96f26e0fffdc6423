"""What kernels keep the card busy, by CUDA's own trace, beside what the clock says, and the rates that fit best."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from advisor.replay.clock import CardPace, kernel_seconds
from advisor.replay.work import OPTIMIZER
from bench.clock.timed import TimedRow

RATES = ("matmul", "memory", "cached", "triton", "copy", "copy_cached", "dequantise", "quantise")
ALL = "all kernels"
_SCALE = 0.01  # errors beyond 1 % of the step count linearly
_PRIOR = 0.003


def foretold_groups(row: TimedRow, card: CardPace) -> dict[str, float]:
    """Seconds of all kernels of a step by group, by the clock."""
    found: dict[str, float] = defaultdict(float)
    for phase, kernels in row.sized.items():
        times = 1 if phase == OPTIMIZER else row.config.accumulation_steps
        for kernel in kernels:
            kind = kernel.kind.split(".")[0]
            group = {"host": "copy", "optimizer": "elementwise", "triton": "elementwise"}.get(kind, kind)
            found[group] += times * kernel.count * kernel_seconds(kernel, card)
    return dict(found)


def with_rates(card: CardPace, factors: Mapping[str, float]) -> CardPace:
    """The card with its rates times the factors."""
    return replace(card, **{name: getattr(card, name) * factor for name, factor in factors.items()})


def fitted_rates(rows: Sequence[TimedRow]) -> dict[str, float]:
    """Factors of the rates of `pace.toml` that foretell the traced rows best; 1 where no row was traced."""
    traced = [row for row in rows if row.kernels]
    if not traced:
        return dict.fromkeys(RATES, 1.0)

    def factors(logs: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> dict[str, float]:
        return dict(zip(RATES, map(float, np.exp(logs)), strict=True))

    def errors(logs: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[float]:
        found = [
            error for row in traced for error in _shares_off(row, with_rates(row.pace.card, factors(logs)))
        ]
        return [*found, *(_PRIOR * logs)]

    return factors(least_squares(errors, np.zeros(len(RATES)), loss="soft_l1", f_scale=_SCALE).x)


def scores(rows: Sequence[TimedRow]) -> list[tuple[str, int, float, float]]:
    """Of each group: in how many rows, its share of all busy seconds, and foretold over measured seconds, less one."""
    measured: dict[str, float] = defaultdict(float)
    foretold: dict[str, float] = defaultdict(float)
    seen: dict[str, int] = defaultdict(int)
    for row in rows:
        for name, seconds in row.kernels.items():
            measured[name] += seconds
            seen[name] += 1
        for name, seconds in foretold_groups(row, row.pace.card).items():
            foretold[name] += seconds
    every = sum(measured.values())
    told = [
        (name, seen[name], seconds / every, foretold[name] / seconds - 1)
        for name, seconds in measured.items()
    ]
    whole = (ALL, len(rows), 1.0, sum(foretold.values()) / every - 1)
    return [*sorted(told, key=lambda line: -line[2]), whole]


def busy_error(row: TimedRow) -> float:
    """Foretold over traced seconds of all kernels, less one."""
    return sum(foretold_groups(row, row.pace.card).values()) / sum(row.kernels.values()) - 1


def _shares_off(row: TimedRow, card: CardPace) -> list[float]:
    """How far off each group is, as a share of the whole step."""
    foretold = foretold_groups(row, card)
    whole = sum(row.kernels.values())
    return [(foretold.get(name, 0.0) - seconds) / whole for name, seconds in row.kernels.items()]
