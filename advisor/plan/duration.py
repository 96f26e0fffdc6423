"""How long the training takes, and what it draws: from tokens a second, and from the watts of measured rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from advisor.profiles.record import Measurement
from advisor.records import Interval, TrainConfig

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """So many tokens at a plan's speed."""

    tokens: int
    steps: int
    seconds: Interval
    energy_kwh: float | None  # of the card alone; None where no row of it gives watts
    energy_basis: str  # which rows, or why it is unknown


def duration(
    tokens: int, config: TrainConfig, step_seconds: Interval, card: str, rows: Iterable[Measurement]
) -> Duration:
    """The time, and the energy where rows of that card tell its watts. A last step that is not full counts whole."""
    steps = -(-tokens // config.tokens_per_step)
    watts, basis = _watts(config, card, rows)
    taken = Interval(
        value=steps * step_seconds.value, low=steps * step_seconds.low, high=steps * step_seconds.high
    )
    return Duration(
        tokens=tokens,
        steps=steps,
        seconds=taken,
        energy_kwh=None if watts is None else watts * taken.value / _JOULES_PER_KWH,
        energy_basis=basis,
    )


def _watts(config: TrainConfig, card: str, rows: Iterable[Measurement]) -> tuple[float | None, str]:
    """The middle of the mean watts of the card's rows, of those with the same precision where there are any."""
    powered = [row for row in rows if row.card == card and row.power is not None and not row.shared]
    alike = [row for row in powered if row.config.precision is config.precision]
    known = alike or powered
    if not known:
        return None, f"unknown: no measured row of {card} gives watts"
    watts = median(row.power.watts_mean for row in known if row.power is not None)
    which = f"with {config.precision.value} weights" if alike else "of any precision"
    return watts, f"{watts:,.0f} W, the middle of {len(known)} measured rows of {card} {which}"
