"""What is seen of a run while it goes: one moving line on a terminal, plain lines elsewhere; both on stderr."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from advisor.errors import AdvisorError, ExitCode
from advisor.train.meter import Meter
from advisor.units import gib

_PLAIN_LINES = 20  # about so many lines a run, where there is no terminal


class LossLog(TrainerCallback):
    """Keeps the loss of each step, shows it, and ends a run whose loss is no number."""

    def __init__(self, meter: Meter, *, tokens_per_step: int, display: "Display") -> None:
        """Remember where the times come from and where to show them."""
        self.meter = meter
        self.tokens_per_step = tokens_per_step
        self.display = display
        self.losses: list[float] = []  # those of an earlier process first

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its caller's names
        """A step's loss is known.

        Raises: AdvisorError where it is infinite or not a number: every later step would be lost too.
        """
        logs: dict[str, Any] = given.get("logs") or {}
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise AdvisorError(
                f"The loss became {loss} at step {state.global_step}; nothing of this run is kept.",
                why="the updates were too large, or fp16 overflowed",
                fix="a smaller --learning-rate, or a plan with bf16",
                exit_code=ExitCode.NO,
            )
        self.losses.append(loss)
        self.display.step(state.global_step, self._line(loss))

    def _line(self, loss: float) -> str:
        recent = self.meter.step_seconds[-5:]
        speed = self.tokens_per_step * len(recent) / sum(recent) if recent else 0.0
        line = f"loss {loss:.3f}  {speed:,.0f} tokens/s"
        if self.meter.on_cuda:
            allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
            line += f"  allocated {gib(allocated)}  reserved {gib(reserved)}"
        return line


class Display:
    """Shows the steps of a run as they end."""

    def __init__(self, console: Console, steps: int) -> None:
        """Choose by the console: a bar on a terminal, some lines elsewhere."""
        self.console, self.steps = console, steps
        self._bar: Progress | None = None
        self._task = TaskID(0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The bar lives while this is open."""
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(24), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=self.console) as bar:
            self._bar, self._task = bar, bar.add_task("", total=self.steps)
            yield
        self._bar = None

    def step(self, number: int, line: str) -> None:
        """A step ended."""
        if self._bar is not None:
            self._bar.update(self._task, completed=number, description=line)
        elif number % max(1, self.steps // _PLAIN_LINES) == 0 or number in (1, self.steps):
            self.console.print(f"step {number}/{self.steps}  {line}", markup=False)
