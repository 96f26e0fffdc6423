"""Whether the clock puts configs in the order that measurements do."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from bench.clock.repeats import rank_of_a_repeat, spread_of_one
from bench.clock.timed import TimedRow

_ALIKE = 0.1
_LEAST_RANKED = 5  # rows of one model on one machine: fewer rank by luck

Told = tuple[TimedRow, float]  # a row and its foretold seconds


def ranks_of_machines(rows: Sequence[TimedRow]) -> list[dict[str, Any]]:
    """Spearman's rank correlation of tokens a second, of each model on each machine, constants as stored."""
    told = [(row, row.foretold.value) for row in rows]
    return [_rank(of, group) for of, group in _groups(told, lambda row: f"{row.model} · {row.environment}")]


def ranks_of_models(unseen: Sequence[tuple[TimedRow, float]]) -> list[dict[str, Any]]:
    """The same of each model on each kind of card, by the relative errors of a fit that saw no row of the model.

    `repeat`: what a second measurement of its rows would reach.
    """
    told = [(row, row.seconds * (1 + error)) for row, error in unseen]
    groups = _groups(told, lambda row: f"{row.model} · {row.gpu.slug}")
    return [_rank(of, group) | {"repeat": _repeat([row for row, _ in group])} for of, group in groups]


def _groups(told: Sequence[Told], name: Callable[[TimedRow], str]) -> Iterator[tuple[str, list[Told]]]:
    groups: dict[str, list[Told]] = defaultdict(list)
    for row, seconds in told:
        groups[name(row)].append((row, seconds))
    return ((of, group) for of, group in sorted(groups.items()) if len(group) >= _LEAST_RANKED)


def _rank(of: str, group: Sequence[Told]) -> dict[str, Any]:
    pairs = [(_speed(row, row.seconds), _speed(row, seconds)) for row, seconds in group]
    return {
        "of": of,
        "rows": len(pairs),
        "correlation": float(spearmanr(pairs).statistic),
        "ordered": _ordered(pairs),
    }


def _speed(row: TimedRow, seconds: float) -> float:
    return row.config.tokens_per_step / seconds


def _ordered(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Of two rows whose measured speeds are not alike, how often the faster one is foretold to be."""
    apart = [
        (b[1] - a[1]) * (b[0] - a[0]) > 0
        for a, b in combinations(pairs, 2)
        if max(a[0], b[0]) > (1 + _ALIKE) * min(a[0], b[0])
    ]
    return float(np.mean(apart)) if apart else None


def _repeat(rows: Sequence[TimedRow]) -> float | None:
    spread = spread_of_one(rows)
    return None if spread is None else rank_of_a_repeat([_speed(row, row.seconds) for row in rows], spread)
