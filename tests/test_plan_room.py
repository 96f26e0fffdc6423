"""Room, and what is no risk."""

import pytest

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.errors import AdvisorError
from advisor.plan.room import checked_risk, room_bytes


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
