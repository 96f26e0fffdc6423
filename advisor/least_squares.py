"""A small fit without numpy, which an answer from a kept tape need not import."""

from collections.abc import Sequence
from itertools import combinations
from math import fsum, inf


def fit_parts(rows: Sequence[Sequence[float]], totals: Sequence[float]) -> list[float]:
    """The weights, none below zero, whose weighted sums of each row's parts lie nearest the totals, by relative error.

    There are few parts, so every choice of those that count is tried.
    """
    scaled = [[part / total for part in row] for row, total in zip(rows, totals, strict=True)]
    count = len(rows[0])
    best, least = [0.0] * count, inf
    for size in range(1, min(count, len(rows)) + 1):
        for used in combinations(range(count), size):
            found = _solved([[row[i] for i in used] for row in scaled])
            if found is None or min(found) < 0:
                continue
            error = fsum((_dot(found, [row[i] for i in used]) - 1) ** 2 for row in scaled)
            if error < least:
                best, least = [0.0] * count, error
                for i, weight in zip(used, found, strict=True):
                    best[i] = weight
    return best


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return fsum(a * b for a, b in zip(left, right, strict=True))


def _solved(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """Least squares to ones by the normal equations; None where the parts are not independent."""
    columns = list(zip(*rows, strict=True))
    system = [[*(_dot(a, b) for b in columns), fsum(a)] for a in columns]
    for i in range(len(system)):
        pivot = max(range(i, len(system)), key=lambda j: abs(system[j][i]))
        system[i], system[pivot] = system[pivot], system[i]
        if abs(system[i][i]) <= 1e-12 * fsum(abs(v) for v in system[i]):
            return None
        system[i] = [value / system[i][i] for value in system[i]]
        for j in range(len(system)):
            if j != i:
                system[j] = [a - system[j][i] * b for a, b in zip(system[j], system[i], strict=True)]
    return [row[-1] for row in system]
