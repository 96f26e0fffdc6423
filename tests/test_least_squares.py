"""The small fit, beside scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from advisor.least_squares import fit_parts

PART = st.floats(0.01, 10)


@given(st.lists(st.tuples(PART, PART, PART), min_size=2, max_size=6), st.data())
def test_it_is_as_good_as_scipys(rows, data):
    """No worse a sum of squares, and no weight below zero."""
    totals = data.draw(st.lists(st.floats(0.1, 10), min_size=len(rows), max_size=len(rows)))
    found = fit_parts(rows, totals)
    scaled = [[part / total for part in row] for row, total in zip(rows, totals, strict=True)]
    _, residual = nnls(scaled, [1.0] * len(rows))
    own = sum((sum(w * p for w, p in zip(found, row, strict=True)) - 1) ** 2 for row in scaled)

    assert min(found) >= 0
    assert own <= residual**2 + 1e-6


def test_exact_parts_are_found():
    """Three rows, three parts."""
    weights = [0.5, 2.0, 0.25]
    rows = [(1, 2, 3), (1, 8, 3), (1, 40, 9)]
    totals = [sum(w * p for w, p in zip(weights, row, strict=True)) for row in rows]

    assert fit_parts(rows, totals) == pytest.approx(weights)
