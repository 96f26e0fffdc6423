"""Axes hold every value, and what is written at their marks is true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.pictures.axes import decades_axis, linear_axis, span_axis, tokens_axis
from advisor.units import short_tokens
from bench.report.words import percent

positive = st.lists(st.floats(min_value=1e-3, max_value=1e6), min_size=1, max_size=8)
whole = st.lists(st.integers(min_value=1, max_value=1 << 22), min_size=1, max_size=8)


def holds(axis, values):
    """Every value lies on the axis, and so does every mark; marks rise."""
    places = [axis.share(value) for value in (*values, *(value for value, _ in axis.ticks))]
    rising = [value for value, _ in axis.ticks]
    return (
        all(-1e-9 <= place <= 1 + 1e-9 for place in places)
        and rising == sorted(set(rising))
        and 2 <= len(rising) <= 9
        and len({words for _, words in axis.ticks}) == len(rising)
    )


@given(positive)
def test_a_linear_axis_holds_its_values_from_zero(values):
    """It begins at nothing, so that lengths can be compared."""
    axis = linear_axis("", values)

    assert 0 == axis.low
    assert holds(axis, values)


@given(positive)
def test_an_axis_of_decades_holds_its_values(values):
    """From a thousandth to a million."""
    assert holds(decades_axis("", values), values)


@given(whole)
def test_an_axis_of_tokens_holds_its_values(values):
    """From one token to four million."""
    assert holds(tokens_axis(values), values)


@given(st.floats(min_value=-100, max_value=-0.01), st.floats(min_value=0.01, max_value=100))
def test_an_axis_of_errors_has_a_mark_at_zero(low, high):
    """The truth is always among the marks."""
    axis = span_axis("", low, high)

    assert "0" in {words.rstrip("0").rstrip(".") or "0" for _, words in axis.ticks}
    assert holds(axis, [low, high])


@pytest.mark.parametrize(("count", "words"), [(512, "512"), (1024, "1k"), (1536, "1.5k"), (131072, "128k")])
def test_tokens_are_called_as_context_lengths_are(count, words):
    """By 1,024."""
    assert words == short_tokens(count)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.00%"), (-0.00001, "0.00%"), (0.02, "+2.00%"), (-0.5, "\N{MINUS SIGN}50.00%")],
)
def test_an_error_shows_its_sign_unless_it_is_nothing(share, words):
    """No minus before zero."""
    assert words == percent(share)
