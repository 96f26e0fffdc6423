"""What an estimate rests on: the simulation alone, measured rows near the config, or rows of that very config."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Basis(StrEnum):
    """Where the peaks of an estimate and their ranges come from; each is better than those before it."""

    SIMULATED = "simulated"
    CALIBRATED = "calibrated"  # simulated, with ranges from enough rows near it of that compute capability
    MEASURED = "measured"  # this very config on this very card


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The measured rows that an estimate rests on: of this very config, else near it."""

    basis: Basis
    rows: int
    others: int = 0  # of the rows, those that others published
    alike: tuple[str, ...] = ()  # what rows near it have in common with it
    wider: float = 1.0  # how much wider the ranges are than those rows say

    @property
    def text(self) -> str:
        """The basis and its rows, for people."""
        return f"{self.basis.value}: {self.behind}"

    @property
    def behind(self) -> str:
        """The rows behind the basis, for people."""
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        if self.basis is Basis.MEASURED:
            return f"{rows} of this config on this card"
        where = "" if self.basis is Basis.CALIBRATED else " on other cards"
        whose = " that others published" if self.others == self.rows else ""
        told = f"ranges from {rows}{where}{whose} with the same {', '.join(self.alike)}"
        return told + (f", {self.wider:g} times as wide" if self.wider > 1 else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "basis": self.basis.value,
            "rows": self.rows,
            "others": self.others,
            "alike": list(self.alike),
            "wider": self.wider,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """The three peaks as simulated, to put beside measured ones."""

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int

    def to_json(self) -> dict[str, int]:
        """The three numbers by the names of an estimate."""
        return {
            "peak_allocated_bytes": self.allocated_bytes,
            "peak_reserved_bytes": self.reserved_bytes,
            "peak_device_bytes": self.device_bytes,
        }
