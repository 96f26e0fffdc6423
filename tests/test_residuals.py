"""Which rows are near a config, and what their residuals say of it."""

from dataclasses import replace

import pytest
from accuracy_parts import compared, figure
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.gpus import find_gpu
from advisor.evidence import Basis
from advisor.records import Checkpointing, Loss, Method, Precision, TrainConfig
from advisor.residuals.facts import facts_of, rules
from advisor.residuals.ranges import byte_range, margin_bytes, on_device
from advisor.residuals.spread import rows_needed, spread
from advisor.residuals.table import MEMORY, REPEATS, Row, Table, shipped
from bench.residuals import repeats_of, rows_of

CONFIG = TrainConfig(precision=Precision.NF4, checkpointing=Checkpointing.NON_REENTRANT, loss=Loss.CHUNKED)
HOPPER, TURING, ADA = (find_gpu(name)[0] for name in ("h200", "t4", "rtx-4090"))
NEAR = facts_of(CONFIG, HOPPER)


def rows(count, residual=0.0, *, model="a", facts=NEAR, others=False):
    """So many rows of one model, all as far off."""
    told = {"allocated": 0.0, "reserved": residual}
    return [Row(card="h200", model=model, others=others, facts=facts, residuals=told)] * count


def above(table, facts=NEAR, risk=0.05, **asked):
    """The upper end for the reserved peak."""
    return table.spread(facts, "reserved", risk, **asked).above


@settings(deadline=None)  # a machine that has other work may take long
@given(st.integers(20, 60), st.floats(0.05, 0.4))
def test_no_more_of_the_rows_lie_above_than_the_risk(count, risk):
    """Each in turn the one that is not known yet: the promise of split conformal prediction, which knows ranks alone."""
    rows_off = range(1, count + 1)
    outside = sum(
        one > spread([r for r in rows_off if r != one], risk, beyond=0.0, factor=1.0).above
        for one in rows_off
    )

    assert outside <= risk * count + 1e-6


@settings(deadline=None)
@given(st.lists(st.integers(-10, 10), max_size=120), st.floats(0.0001, 0.4), st.floats(0.0001, 0.4))
def test_less_risk_never_takes_less(residuals, one, other):
    """Of the same rows; and a range holds its prediction."""
    wide, narrow = (spread(residuals, risk, beyond=1.0, factor=1.0) for risk in sorted((one, other)))

    assert wide.below <= narrow.below <= 0 <= narrow.above <= wide.above


def test_nineteen_rows_bear_a_range_by_their_worst():
    """One more row is the largest of twenty with a chance of one in twenty."""
    assert (19, 99) == (rows_needed(0.05), rows_needed(0.01))
    told = spread([*range(-9, 10)], 0.05, beyond=100.0, factor=1.0)

    assert (-9, 9) == (told.below, told.above)


def test_too_few_rows_say_no_less_than_one_block():
    """All exact, and yet nobody knows: the worst counts as one block, stretched as an exponential tail."""
    seven = spread([0.0] * 7, 0.05, beyond=1.0, factor=1.0)

    assert pytest.approx(1.661, abs=0.001) == seven.above  # ln(0.5 / 0.05) / ln(0.5 x 8)
    assert spread([0.0] * 18, 0.05, beyond=1.0, factor=1.0).above < seven.above
    assert spread([], 0.05, beyond=1.0, factor=1.0).above > seven.above


def test_the_nearest_rows_that_are_enough_decide():
    """Not those that are farther, though they are many and worse."""
    farther = replace(NEAR, loss="stock")
    far = rows(100, 2.0, facts=farther)

    assert 0.1 == above(Table(MEMORY, [*rows(19, 0.1), *far]))
    assert 2.0 == above(Table(MEMORY, [*rows(18, 0.1), *far]))


def test_a_small_risk_looks_farther_for_rows():
    """One in a hundred takes ninety-nine."""
    table = Table(MEMORY, [*rows(19, 0.1), *rows(100, 0.7, facts=replace(NEAR, method="full"))])

    assert (0.1, 0.7) == (above(table), above(table, risk=0.01))


def test_other_weights_say_nothing():
    """Ninety-nine rows of 16 bits leave an 8-bit config as unknown as none."""
    int8 = facts_of(replace(CONFIG, precision=Precision.INT8), HOPPER)
    bf16 = facts_of(replace(CONFIG, precision=Precision.BF16), HOPPER)

    assert above(Table(MEMORY, []), int8) == above(Table(MEMORY, rows(99, facts=bf16)), int8)


def test_rows_of_a_model_left_out_do_not_count():
    """As had it never been measured."""
    table = Table(MEMORY, [*rows(19, 0.1), *rows(5, 3.0, model="b")])

    assert 3.0 == above(table)
    assert 0.1 == above(table, unseen="b")


def test_a_capability_that_was_never_measured_is_wider():
    """Twice what the rows of all cards say; on the measured one they say it themselves."""
    table = Table(MEMORY, [*rows(30, 0.1), *rows(5, 0.5, facts=replace(NEAR, loss="stock"))])
    ada = facts_of(CONFIG, ADA)

    assert 0.1 == above(table)
    assert 2 * 0.5 == above(table, ada)
    assert (Basis.CALIBRATED, 1.0) == kind(table, NEAR)
    assert (Basis.SIMULATED, 2.0) == kind(table, ada)
    assert (Basis.SIMULATED, 2.0) == kind(table, facts_of(CONFIG, None))


def kind(table, facts):
    """What an estimate rests on."""
    told = table.evidence(facts, "reserved")
    return told.basis, told.wider


def test_a_capability_with_few_rows_counts_all_as_they_are():
    """They are some of those that the range is read off."""
    turing = facts_of(CONFIG, TURING)
    table = Table(MEMORY, [*rows(30, 0.1), *rows(5, 0.5, facts=turing, others=True)])

    assert (Basis.SIMULATED, 1.0) == kind(table, turing)
    assert 0.5 == above(table, turing)


def test_who_published_the_rows_is_said():
    """Their scripts are not ours."""
    turing = facts_of(CONFIG, TURING)
    told = Table(MEMORY, [*rows(30), *rows(20, facts=turing, others=True)]).evidence(turing, "reserved")

    assert "calibrated: ranges from 20 rows that others published with the same " in told.text
    assert (20, 20) == (told.rows, told.others)


def test_a_range_is_counted_in_its_unit_and_has_a_floor():
    """Half a block of a gibibyte above, and at least the smallest segment to either side."""
    table, block, floor = Table(MEMORY, rows(19, 0.5)), 1 << 30, 2 << 20
    told = byte_range(table, NEAR, "reserved", 10 << 30, block)

    assert ((10 << 30) - floor, (10 << 30) + block // 2 + floor) == (told.low, told.high)
    assert block // 2 + floor == margin_bytes(table, NEAR, "reserved", block, 0.05)
    assert told.high - told.low < (device := on_device(told, HOPPER)).high - device.low


def test_every_config_has_facts():
    """No precision, method or optimizer is unheard of."""
    for precision in Precision:
        assert facts_of(replace(CONFIG, precision=precision), HOPPER).weights
    optimizers = {"adamw_torch": "torch", "paged_adamw_8bit": "paged", "lion_8bit": "8-bit", "sgd": "torch"}
    for name, family in optimizers.items():
        assert family == facts_of(replace(CONFIG, optimizer=name, method=Method.FULL), HOPPER).optimizer
    assert set(rules()[MEMORY]["levels"][0]) <= set(NEAR.__slots__)


def test_the_shipped_table_bears_a_range_on_hopper_for_all_weights():
    """And the rows of others make one for a T4."""
    table = shipped(MEMORY)

    assert len(table.rows) >= 290
    for precision in (Precision.BF16, Precision.NF4, Precision.INT8):
        assert Basis.CALIBRATED is kind(table, facts_of(replace(CONFIG, precision=precision), HOPPER))[0]
    assert table.evidence(facts_of(CONFIG, TURING), "reserved").others >= 19


def test_a_config_measured_again_is_another_row_of_the_second_table():
    """Of rows of one config the farthest from its prediction stands for all; of repeats that from the first time."""
    sizes = {"a": 110, "b": 130, "c": 90}
    scored = [
        compared(n, figures={"reserved": figure(size, 100)}, largest_block_bytes=10)
        for n, size in sizes.items()
    ]
    alone = compared("d", model="b", figures={"reserved": figure(105, 100)}, largest_block_bytes=10)

    assert [3.0, 0.5] == [row.residuals["reserved"] for row in rows_of([*scored, alone])]
    assert [2.0] == [row.residuals["reserved"] for row in repeats_of([*scored, alone])]


def test_measuring_again_differs_by_less_than_a_prediction():
    """On Hopper, where configs were measured again, whatever the weights."""
    for precision in (Precision.BF16, Precision.NF4, Precision.INT8):
        facts = facts_of(replace(CONFIG, precision=precision, checkpointing=Checkpointing.NONE), HOPPER)
        assert above(shipped(REPEATS), facts) < above(shipped(MEMORY), facts)


def test_a_plan_at_less_risk_never_needs_less():
    """Though other rows decide: for every kind of weights, on cards that were measured and others."""
    table = shipped(MEMORY)
    for card in (HOPPER, TURING, ADA, None):
        for precision in Precision:
            facts = facts_of(replace(CONFIG, precision=precision), card)
            ends = [above(table, facts, risk) for risk in (0.4, 0.1, 0.05, 0.01, 0.001)]
            assert ends == sorted(ends)
