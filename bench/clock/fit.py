"""The fit of the host's constants and of the rates that a card keeps up, and how it does on models it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import log
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from advisor.replay.clock import HostPace, StepCost, StepTime
from bench.clock.card import fitted_rates, with_rates
from bench.clock.timed import TimedRow

_NAMES = tuple(f.name for f in fields(HostPace))
_PRIOR = 0.05  # how much a constant may cost to move: those that few rows tell of stay
_SCALE = 0.1  # errors beyond 10 % count linearly: hosts have bad moments
_WIDEST = 8.0


@dataclass(frozen=True, slots=True)
class Fit:
    """Constants as factors of those in `pace.toml`, and each machine's host beside the usual one."""

    rates: dict[str, float]
    factors: dict[str, float]
    machines: dict[str, float]

    def foretell(self, row: TimedRow) -> float:
        """Seconds of the row's step."""
        return self.spent(row).seconds

    def spent(self, row: TimedRow) -> StepTime:
        """What the row's step keeps card and host busy."""
        return self.with_cost(row, _cost(row, self.rates))

    def with_cost(self, row: TimedRow, cost: StepCost) -> StepTime:
        """The same, where what the card spends is known."""
        machine = self.machines.get(row.environment, 1.0)
        host = HostPace(**{name: getattr(row.pace.host, name) * self.factors[name] for name in _NAMES})
        return cost.time(
            host.times(machine),
            accumulation_steps=row.config.accumulation_steps,
            checkpointing=row.config.checkpointing.value,
        )


def _cost(row: TimedRow, rates: dict[str, float]) -> StepCost:
    return StepCost.of(row.sized, with_rates(row.pace.card, rates))


def fitted(rows: Sequence[TimedRow]) -> Fit:
    """The constants that foretell the rows best; the machine with most rows is the usual one."""
    machines = sorted({r.environment for r in rows}, key=lambda m: -sum(r.environment == m for r in rows))
    keys = (*_NAMES, *machines[1:])
    rates = fitted_rates(rows)
    costs = [_cost(row, rates) for row in rows]  # the host's constants do not touch them

    def fit_of(values: Any) -> Fit:
        named = dict(zip(keys, map(float, values), strict=True))
        factors = {name: named[name] for name in _NAMES}
        return Fit(rates, factors, {machine: named.get(machine, 1.0) for machine in machines})

    def errors(values: Any) -> Any:
        fit = fit_of(values)
        foretold = [fit.with_cost(row, cost).seconds for row, cost in zip(rows, costs, strict=True)]
        return np.array(
            [log(seconds / row.seconds) for row, seconds in zip(rows, foretold, strict=True)]
            + [_PRIOR * log(v) for v in values]
        )

    found = least_squares(
        errors,
        np.ones(len(keys)),
        loss="soft_l1",
        f_scale=_SCALE,
        bounds=(1 / _WIDEST, _WIDEST),
        diff_step=1e-3,
        max_nfev=40,
    )
    return fit_of(found.x)


def errors_elsewhere(rows: Sequence[TimedRow]) -> list[tuple[TimedRow, float]]:
    """Each row with the relative error of a fit that saw no row of its model."""
    models = sorted({row.model for row in rows})
    told: list[tuple[TimedRow, float]] = []
    for model in models:
        fit = fitted([row for row in rows if row.model != model])
        told += [(row, fit.foretell(row) / row.seconds - 1) for row in rows if row.model == model]
    return told
