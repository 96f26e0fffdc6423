"""Tables of measured rows with their residuals, and the rows near a config."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.evidence import Basis, Evidence
from advisor.residuals.facts import Facts, rules
from advisor.residuals.spread import RANGE_RISK, Spread, rows_needed, spread

MEMORY, REPEATS = "memory", "repeats"  # predicted and measured; measured and measured again


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured config and how far its figures lay from their predictions."""

    card: str
    model: str
    others: bool  # published by others: their scripts and versions differ from ours
    facts: Facts
    residuals: dict[str, float]  # by figure; rules.toml says what each is counted in


@dataclass(frozen=True, slots=True)
class _Near:
    """Some rows, and what they have in common with what was asked for."""

    rows: Sequence[Row]
    alike: tuple[str, ...]
    factor: float  # how much wider than they say
    calibrated: bool  # enough of them, and all of the card's compute capability


class Table:
    """Rows with their residuals; remembers its answers, so that asking for thousands of configs costs nothing."""

    def __init__(self, name: str, rows: Iterable[Row]) -> None:
        """`name` is that of the section in rules.toml."""
        self.rows = tuple(rows)
        self._rules: dict[str, Any] = rules()[name]
        self._spreads: dict[tuple[Facts, str, float, str], Spread] = {}

    def spread(self, facts: Facts, figure: str, risk: float = RANGE_RISK, *, unseen: str = "") -> Spread:
        """How far the figure may lie off, at that risk of either side; rows of the model `unseen` don't count.

        At less risk than a range's, never less far than its ends, though the rows are others.
        """
        key = (facts, figure, risk, unseen)
        if key not in self._spreads:
            found = self._spread(facts, figure, risk, unseen)
            if risk < RANGE_RISK:
                found = found.or_wider(self.spread(facts, figure, unseen=unseen))
            self._spreads[key] = found
        return self._spreads[key]

    def _spread(self, facts: Facts, figure: str, risk: float, unseen: str) -> Spread:
        near = self._near(facts, figure, rows_needed(risk), unseen)
        residuals = [row.residuals[figure] for row in near.rows]
        beyond = self._rules["figures"][figure]["beyond"]
        return spread(residuals, risk, beyond=beyond, factor=near.factor)

    def evidence(self, facts: Facts, figure: str) -> Evidence:
        """What the range of the figure rests on."""
        near = self._near(facts, figure, rows_needed(RANGE_RISK), "")
        basis = Basis.CALIBRATED if near.calibrated else Basis.SIMULATED
        others = sum(row.others for row in near.rows)
        return Evidence(basis=basis, rows=len(near.rows), others=others, alike=near.alike, wider=near.factor)

    def floor_bytes(self, figure: str) -> int:
        """What a range reaches to either side at least, beyond what the rows say."""
        return int(self._rules["figures"][figure]["floor_bytes"])

    def _near(self, facts: Facts, figure: str, needed: int, unseen: str) -> _Near:
        """The nearest rows that are enough, else all that the last level allows; of other cards only where it must be."""
        widest = self._rules["levels"][-1]
        rows = [row for row in self.rows if figure in row.residuals and row.model != unseen]
        rows = [row for row in rows if _alike(row, facts, widest)]
        here = [row for row in rows if row.facts.capability == facts.capability]
        calibrated = len(here) >= rows_needed(RANGE_RISK)
        if not calibrated:
            factor = 1.0 if here else float(self._rules["elsewhere_factor"])
            return _Near(rows, tuple(widest), factor, calibrated)
        for level in self._rules["levels"]:
            near = [row for row in here if _alike(row, facts, level)]
            if len(near) >= needed:
                return _Near(near, tuple(level), 1.0, calibrated)
        return _Near(here, tuple(widest), 1.0, calibrated)


def _alike(row: Row, facts: Facts, level: Sequence[str]) -> bool:
    return all(getattr(row.facts, name) == getattr(facts, name) for name in level)


@cache
def shipped(name: str) -> Table:
    """The table that comes with the project."""
    text = files("advisor.residuals").joinpath(f"{name}.json").read_text(encoding="utf-8")
    return Table(name, (row_from_json(row) for row in json.loads(text)["rows"]))


def row_from_json(row: dict[str, Any]) -> Row:
    """One row as the file holds it."""
    return Row(**row | {"facts": Facts(**row["facts"])})
