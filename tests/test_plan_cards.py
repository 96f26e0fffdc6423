"""Which card, which model, how long, how much: answers over many plans."""

from dataclasses import replace
from pathlib import Path

import pytest
from plan_parts import fake_clock
from profile_parts import measured

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.cards import cheapest_first, on_cards
from advisor.plan.duration import duration
from advisor.plan.lanes import PlanOptions
from advisor.plan.largest import of_models
from advisor.plan.prices import Prices, read_prices
from advisor.profiles.record import Power
from advisor.records import Interval, Precision, TrainConfig
from advisor.tape.store import TapeStore
from advisor.units import GIB

CARDS = ("t4", "l4", "rtx-4090", "h100-80gb-sxm")
STEP = Interval(value=2.0, low=1.8, high=2.4)
CONFIG = TrainConfig(precision=Precision.NF4, micro_batch=4, sequence_length=2048, accumulation_steps=4)


@pytest.fixture(scope="module")
def estimator():
    """From shipped tapes alone: tracing is off."""
    return Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))


def on(estimator, names=CARDS, model="1B", **more):
    """The answer for each card."""
    gpus = [find_gpu(name)[0] for name in names]
    asked = {"tokens": 10_000_000, "clock": fake_clock} | more
    return list(on_cards(find_model(model)[0], gpus, PlanOptions(), estimator, **asked))


def test_without_prices_the_smallest_card_comes_first(estimator):
    """Of those that hold the model."""
    ranked = cheapest_first(on(estimator), None)
    rooms = [usable_bytes(card.gpu) for card in ranked]

    assert 4 == len(ranked)
    assert rooms == sorted(rooms)


def test_with_prices_the_least_money_comes_first(estimator):
    """A dear card that is fast may cost less than a cheap one; one without a price comes last."""
    prices = Prices("EUR", {"t4": 0.5, "h100-80gb-sxm": 2.0, "l4": 0.8})
    ranked = cheapest_first(on(estimator, prices=prices), None)
    costs = [card.cost for card in ranked[:3]]

    assert "rtx-4090" == ranked[-1].gpu.slug
    assert ranked[-1].cost is None
    assert costs == sorted(costs)
    for card in ranked[:3]:
        hours = card.took.seconds.value / 3600
        assert card.cost == pytest.approx(hours * prices.per_hour[card.gpu.slug])


def test_a_deadline_is_kept_at_the_upper_end_of_the_range(estimator):
    """A card that would be late once in twenty runs is late."""
    answers = on(estimator)
    slow = next(card for card in answers if card.gpu.slug == "t4")
    between = (slow.took.seconds.value + slow.took.seconds.high) / 2
    named = {card.gpu.slug for card in cheapest_first(answers, between)}

    assert "t4" not in named
    assert "h100-80gb-sxm" in named


def test_a_card_that_is_too_small_says_so(estimator):
    """And is no choice."""
    small, large = on(estimator, names=("t4", "h100-80gb-sxm"), model="70B")

    assert small.found is None
    assert small.why_not
    assert not small.in_time(None)
    assert "h100-80gb-sxm" == large.gpu.slug
    assert large.found is not None


def test_time_is_whole_steps():
    """A last step that is not full takes as long."""
    took = duration(CONFIG.tokens_per_step * 10 + 1, CONFIG, STEP, "h200", [])

    assert 11 == took.steps
    assert (22.0, 19.8, 26.4) == pytest.approx((took.seconds.value, took.seconds.low, took.seconds.high))


def test_energy_is_unknown_without_rows():
    """No watts are guessed."""
    took = duration(1_000_000, CONFIG, STEP, "h200", [measured(card="t4")])

    assert took.energy_kwh is None
    assert "unknown" in took.energy_basis


def test_energy_takes_rows_of_the_same_precision_first():
    """Their middle; a shared row's watts are another's too."""

    def row(watts, precision, **more):
        power = Power(watts_mean=watts, watts_max=watts, energy_joules=1.0)
        return measured(power=power, config=replace(CONFIG, precision=precision), **more)

    rows = [
        row(300.0, Precision.NF4),
        row(500.0, Precision.NF4),
        row(400.0, Precision.NF4),
        row(700.0, Precision.BF16),
        row(9000.0, Precision.NF4, shared=True),
    ]
    took = duration(CONFIG.tokens_per_step * 1800, CONFIG, STEP, "h200", rows)

    assert 400 * 3600 / 3.6e6 == pytest.approx(took.energy_kwh)
    assert "3 measured rows" in took.energy_basis


def test_prices_are_read_by_any_name_of_a_card(tmp_path):
    """And kept by the catalog's."""
    file = tmp_path / "prices.toml"
    file.write_text('currency = "USD"\n[per_hour]\nrtx-4090 = 0.35\nt4 = 1\n')

    assert Prices("USD", {"rtx-4090": 0.35, "t4": 1.0}) == read_prices(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[per_hour]\n",
        "not toml",
        "[per_hour]\nt4 = -1\n",
        '[per_hour]\nt4 = "x"\n',
        "[per_hour]\nrtx-9 = 1\n",
    ],
)
def test_prices_that_are_none_are_refused(tmp_path, text):
    """One clear error each."""
    file = tmp_path / "prices.toml"
    file.write_text(text)

    with pytest.raises(AdvisorError):
        read_prices(file)


def test_models_come_largest_first_with_what_is_known(estimator):
    """Fits, does not fit by its weights alone, or unknown without a tape; never guessed."""
    models = [find_model(name)[0] for name in ("70B", "8B", "1B", "qwen3-4b")]
    gpu = find_gpu("t4")[0]
    answers = list(of_models(models, gpu, PlanOptions(), estimator, clock=fake_clock))
    fits = {one.model.name: one.fits for one in answers}
    sizes = [one.model.parameters for one in answers]

    assert sizes == sorted(sizes, reverse=True)
    assert fits["llama-3.1-70b"] is False
    assert fits["llama-3.1-8b"] is True
    assert fits["llama-3.2-1b"] is True
    assert fits["qwen3-4b"] is None
    assert all(one.needed_bytes > 0 for one in answers)


def test_a_small_room_leaves_small_models(estimator):
    """What does not fit needs more than there is."""
    models = [find_model(name)[0] for name in ("8B", "1B")]
    gpu = find_gpu("t4")[0]
    options = PlanOptions(reserve_bytes=usable_bytes(gpu) - 4 * GIB)
    large, small = of_models(models, gpu, options, estimator, clock=fake_clock)

    assert (False, True) == (large.fits, small.fits)
    assert large.needed_bytes > 4 * GIB
