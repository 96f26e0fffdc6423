"""Phase marks: how the step tells whoever watches it (a meter, a tape) where it is."""

from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """The parts of a run whose peaks are told apart."""

    LOAD = "load"
    PREPARE = "prepare"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVALUATE = "evaluate"
    SAVE = "save"


class Observer(Protocol):
    """Whoever wants to know which phase runs."""

    def mark(self, phase: Phase) -> None:
        """A phase begins; the one before it is over."""

    def weight(self, name: str) -> None:
        """The weight of that name is about to be loaded."""

    def step_ended(self) -> None:
        """An optimizer step is complete, and its gradients are gone."""


class Unobserved:
    """Nobody watches."""

    def mark(self, phase: Phase) -> None:
        """Nothing to do."""

    def weight(self, name: str) -> None:
        """Nothing to do."""

    def step_ended(self) -> None:
        """Nothing to do."""
