"""What lengths mean: spreads, cuts, padding and packing, held against slow and obvious ways to count them."""

from itertools import combinations, pairwise
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.data_facts.facts import cut, expected_longest, grouped, histogram, padding, spread
from advisor.data_facts.rates import rate_for
from advisor.data_facts.recommend import lengths_to_show, recommend, share

LENGTHS = st.lists(st.integers(1, 3000), min_size=1, max_size=60)


@given(LENGTHS)
def test_bars_hold_every_example_once(lengths):
    """And so every token."""
    bars = histogram(lengths)

    assert len(lengths) == sum(bar.examples for bar in bars)
    assert sum(lengths) == sum(bar.tokens for bar in bars)
    assert bars[0].examples > 0 < bars[-1].examples


def test_percentiles_are_lengths_of_examples():
    """Nearest rank: of 1 to 100 the 95th is 95."""
    found = spread(range(1, 101))

    assert (1, 50, 90, 95, 99, 100) == (
        found.shortest,
        found.median,
        found.p90,
        found.p95,
        found.p99,
        found.longest,
    )


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8), st.integers(1, 4))
def test_the_expected_longest_is_the_mean_over_every_batch(lengths, drawn):
    """All combinations, one by one."""
    drawn = min(drawn, len(lengths))

    assert expected_longest(lengths, drawn) == pytest.approx(mean(map(max, combinations(lengths, drawn))))


def test_grouping_wastes_less_than_chance_and_keeps_every_example():
    """On lengths of a wide spread."""
    lengths = [Random(1).randint(1, 2000) for _ in range(500)] + [
        Random(2).randint(1, 50) for _ in range(500)
    ]
    found = padding(lengths, 8)

    assert sorted(lengths) == sorted(grouped(lengths, 8))
    assert 0 <= found.grouped_waste < found.random_waste / 2
    assert 8 * max(lengths) == found.longest_batch_tokens


def test_equal_lengths_waste_nothing():
    """Whatever the batch."""
    found = padding([7] * 20, 4)

    assert (0, 0) == (pytest.approx(found.random_waste), found.grouped_waste)


@given(LENGTHS, st.integers(2, 200))
def test_a_cut_counts_as_a_token_by_token_count_does(lengths, length):
    """Cut tokens, full blocks, and examples that lie in two blocks."""
    owners = [index for index, size in enumerate(lengths) for _ in range(size)]
    blocks = [set(owners[i : i + length]) for i in range(0, len(owners), length)]
    split = {a for one, other in pairwise(blocks) for a in one & other}
    found = cut(lengths, length)

    assert sum(max(0, size - length) for size in lengths) == found.cut_tokens
    assert len(owners) // length == found.blocks
    assert len(split) == found.split_examples


@given(LENGTHS)
def test_the_recommended_length_is_the_smallest_that_keeps_the_rule(lengths):
    """One step shorter would cut more than one in a hundred."""
    found = recommend(lengths).cut
    shorter = cut(lengths, found.sequence_length - 64) if found.sequence_length > 64 else None

    assert found.cut_examples <= 0.01 * len(lengths)
    assert found.cut_tokens <= 0.01 * sum(lengths)
    assert shorter is None or (
        shorter.cut_examples > 0.01 * len(lengths) or shorter.cut_tokens > 0.01 * sum(lengths)
    )


def test_one_long_example_in_a_thousand_does_not_set_the_length():
    """Unless its tokens count."""
    tail = recommend([100] * 999 + [300])
    heavy = recommend([100] * 999 + [30_000])

    assert (128, "cuts-the-tail") == (tail.cut.sequence_length, tail.reason.code)
    assert heavy.cut.sequence_length > 20_000


def test_no_length_beyond_the_positions_of_the_model():
    """What the data asks for is said."""
    found = recommend([5000] * 10, positions=2048)

    assert (2048, "positions") == (found.cut.sequence_length, found.reason.code)
    assert "5,056" in found.reason.text


def test_lengths_shown_end_where_nothing_is_cut():
    """And hold those that were asked for."""
    shown = lengths_to_show([900], 333)

    assert [128, 256, 333, 512, 1024] == shown


def test_shares_say_none_only_of_nothing():
    """A small share is not zero."""
    assert ["none", "under 0.1 %", "2.5 %", "57 %"] == [share(n, 1000) for n in (0, 0.5, 25, 570)]


def test_rates_are_told_by_vocabulary_and_by_script():
    """A small vocabulary makes more tokens; so does Greek; no model widens the range."""
    english, greek = ["a plain sentence of English words"], ["μια απλή πρόταση με λέξεις"]
    small, large, any_model = rate_for(english, 32_000), rate_for(english, 128_256), rate_for(english, None)

    assert small.value < large.value
    assert rate_for(greek, 128_256).value < large.value
    assert any_model.low == small.low < any_model.value < any_model.high
