"""Room, risk and what they make of a range."""

import pytest

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.errors import AdvisorError
from advisor.plan.room import at_risk_bytes, checked_risk, room_bytes
from advisor.records import ByteInterval

RANGE = ByteInterval(value=1000, low=900, high=1100)


def test_the_upper_end_of_a_range_is_a_risk_of_one_in_twenty():
    """It holds 90 %, so a twentieth lies above it."""
    assert 1100 == at_risk_bytes(RANGE, 0.05)


@pytest.mark.parametrize(("risk", "bytes_"), [(0.5, 1000), (0.01, 1170), (0.001, 1270)])
def test_less_risk_takes_more(risk, bytes_):
    """An exponential tail: ten times less risk, one more width of the upper half over ln 10."""
    assert bytes_ == pytest.approx(at_risk_bytes(RANGE, risk), abs=1)


def test_a_range_of_nothing_stays():
    """What is known exactly is needed exactly."""
    assert 7 == at_risk_bytes(ByteInterval(value=7, low=7, high=7), 0.001)


@pytest.mark.parametrize("risk", [0, -0.1, 0.5, 1, 99])
def test_what_is_no_risk_is_refused(risk):
    """With what would do."""
    with pytest.raises(AdvisorError, match="risk"):
        checked_risk(risk)


def test_a_reserve_comes_off_and_may_not_take_all():
    """A gibibyte for a display leaves the rest."""
    card = find_gpu("t4")[0]

    assert usable_bytes(card) - (1 << 30) == room_bytes(card, 1 << 30)
    with pytest.raises(AdvisorError, match="reserve"):
        room_bytes(card, usable_bytes(card))
