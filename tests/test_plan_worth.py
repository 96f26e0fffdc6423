"""The rules of quality: each has a source, and they order what they should."""

from dataclasses import replace
from itertools import product

import pytest

from advisor.plan.goals import Goal
from advisor.plan.worth import _rules, indifference_share, passed_over, worth, worth_source
from advisor.records import Method, Precision, TrainConfig

PLAIN = TrainConfig()
TABLES = ("precision", "targets", "rank", "optimizer", "passed_over")


@pytest.mark.parametrize("table", TABLES)
def test_every_rule_has_a_source(table):
    """No taste: a paper, a measurement or a fact of a library stands behind each."""
    rows = _rules()[table]

    assert len(rows) >= 1
    assert all(len(row["source"]) > 10 for row in rows)
    assert len(_rules()["indifference"]["source"]) > 10


def test_every_way_has_a_worth():
    """Each method over each precision, but for quantised weights that learn."""
    quantised = (Precision.INT8, Precision.NF4, Precision.NF4_SINGLE)
    ways = [
        replace(PLAIN, method=method, precision=precision)
        for method, precision in product(Method, Precision)
        if method is Method.LORA or precision not in quantised
    ]

    assert 12 == len(ways)
    assert all(0 < worth(config) <= 1.1 for config in ways)
    assert all(worth_source(config) for config in ways)


def test_less_quantised_is_worth_more():
    """In the order that the papers give."""
    order = [worth(replace(PLAIN, precision=p)) for p in (Precision.BF16, Precision.INT8, Precision.NF4)]

    assert order == sorted(order, reverse=True)
    assert 3 == len(set(order))


def test_more_rank_is_worth_a_little_more_up_to_an_end():
    """It grows with the rank, and no further than the papers went."""
    ranks = [worth(replace(PLAIN, lora_rank=rank)) for rank in (1, 4, 8, 16, 64, 256, 1024)]

    assert ranks == sorted(ranks)
    assert 1.0 == worth(replace(PLAIN, lora_rank=16))
    assert ranks[0] == ranks[1]
    assert ranks[-1] == ranks[-2] < 1.1


def test_fewer_modules_are_worth_less():
    """q and v alone do not match full fine-tuning."""
    assert worth(replace(PLAIN, lora_targets=("q_proj", "v_proj"))) < worth(PLAIN)


def test_rank_and_modules_say_nothing_of_whole_layers():
    """Full fine-tuning has no adapters."""
    full = replace(PLAIN, method=Method.FULL, precision=Precision.FP32)

    assert worth(full) == worth(replace(full, lora_rank=256, lora_targets=("q_proj",)))


def test_the_cards_own_half_precision_is_never_passed_over():
    """The other one is, with a reason."""
    assert "" == passed_over(replace(PLAIN, precision=Precision.FP16), Precision.FP16)
    assert passed_over(replace(PLAIN, precision=Precision.FP16), Precision.BF16)
    assert "" == passed_over(replace(PLAIN, precision=Precision.NF4), Precision.BF16)
    assert "" == passed_over(replace(PLAIN, method=Method.FULL, precision=Precision.FP32), Precision.BF16)


def test_indifference_is_small():
    """A plan never gives up more than a few percent for memory, and `least-memory` gives up none."""
    shares = {goal: indifference_share(goal.value) for goal in Goal}

    assert all(share <= 0.03 for share in shares.values())
    assert 0 == shares[Goal.LEAST_MEMORY]
    assert shares[Goal.FASTEST] < shares[Goal.QUALITY]
