"""How alike two measurements of one config are, and so how well any clock could order the rows."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from math import log

import numpy as np
from scipy.stats import spearmanr

from advisor.records import Allocator
from bench.clock.timed import TimedRow

_DRAWS = 200


def spread_of_one(rows: Sequence[TimedRow]) -> float | None:
    """Standard deviation of the logarithm of one measurement, from pairs of one config on one machine within an hour.

    The allocator aside, which takes no time. None where nothing was measured twice.
    """
    seen: dict[object, list[float]] = defaultdict(list)
    for row in rows:
        alike = replace(row.config, allocator=Allocator.DEFAULT)
        seen[row.model, row.environment, alike].append(log(row.seconds))
    squares = [(a - b) ** 2 / 2 for logs in seen.values() for a, b in combinations(logs, 2)]
    return float(np.sqrt(np.mean(squares))) if squares else None


def rank_of_a_repeat(speeds: Sequence[float], spread: float) -> float:
    """The rank correlation of the speeds with those that a second measurement would find, on average."""
    drawn = np.random.default_rng(0)
    known = np.array(speeds)
    again = (known * np.exp(drawn.normal(0, spread, len(known))) for _ in range(_DRAWS))
    return float(np.mean([spearmanr(known, each).statistic for each in again]))
