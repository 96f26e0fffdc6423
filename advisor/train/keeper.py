"""While a run goes: what is kept of it, when it stops early, and where it may go on from."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from advisor.step.session import Session
from advisor.train import checkpoints
from advisor.train.checkpoints import Progress
from advisor.train.output import new_folder
from advisor.train.progress import LossLog
from advisor.train.rehearse import random_states, set_random_states

_SECONDS_BETWEEN = 300.0  # of work that a crash may cost, where nobody said how many steps
_MOST_SHARE = 0.05  # of the time that writing checkpoints may take


class Keeper(TrainerCallback):
    """Seals checkpoints, remembers evaluations, and knows whether the weights in memory are those of a whole step."""

    def __init__(  # noqa: PLR0913 - what a run is kept by
        self,
        output: Path,
        progress: Progress,
        log: LossLog,
        *,
        copies: int,
        by_clock: bool,
        patience: int,
        base_name: str,
    ) -> None:
        """Go on from `progress`, whose losses are in `log` already."""
        self.output, self.progress, self.log = output, progress, log
        self.copies, self.by_clock, self.patience = copies, by_clock, patience
        self.base_name = base_name
        self.evaluations = list(progress.evaluations)
        self.session: Session | None = None
        self.began = False  # a real step has begun: there is something to lose
        self.sealed_step = -1
        self._in_optimizer = False
        self._numbers: dict[str, Any] | None = None
        self._sealed_at = time.monotonic()
        self._save_began = self._sealed_at
        self._save_seconds = 0.0

    @property
    def torn_update(self) -> bool:
        """Whether the optimizer was at work: some weights may have moved, others not."""
        return self._in_optimizer

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Before the first micro-batch of a step."""
        self.began = True
        self._numbers = random_states()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """From here the weights move."""
        self._in_optimizer = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its caller's names
        """The step is whole."""
        self._in_optimizer = False
        self._numbers = random_states()
        self._save_began = time.monotonic()
        if self.by_clock and self._save_began - self._sealed_at > max(
            _SECONDS_BETWEEN, self._save_seconds / _MOST_SHARE
        ):
            control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """A held-out loss is known; on the way it may end the training."""
        if not self.began or state.global_step in dict(self.evaluations):
            return
        self.evaluations.append((state.global_step, float(given["metrics"]["eval_loss"])))
        if self.patience and best_step(self.evaluations) == state.global_step:
            self._keep_best(state.global_step)
        if is_over(self.evaluations, self.patience):
            control.should_training_stop = True
        self._save_began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """The trainer has written a checkpoint."""
        self.seal(state.global_step)

    def seal(self, step: int) -> Path:
        """Make what the trainer has written a checkpoint."""
        path = checkpoints.seal(self.output, step, self.so_far(), keep=self.copies)
        self.sealed_step = step
        self._sealed_at = time.monotonic()
        self._save_seconds = self._sealed_at - self._save_began
        if self.patience:
            here = [best_step(self.evaluations)] if self.evaluations else []
            checkpoints.drop_bests(self.output, (*here, *checkpoints.bests_needed(self.output)))
        return path

    def so_far(self) -> Progress:
        """What was done until now."""
        return replace(
            self.progress,
            losses=tuple(self.log.losses),
            evaluations=tuple(self.evaluations),
            step_seconds=(*self.progress.step_seconds, *self.log.meter.step_seconds),
        )

    def rescue(self, session: Session) -> int:
        """After memory ran out: keep the last whole step, and give its number; 0 where all begins anew.

        Raises: OSError, or what the libraries make of it, where the disk has no room for it.
        """
        trainer: Any = session.trainer
        kept = checkpoints.step_of(checkpoints.last_checkpoint(self.output))
        step = int(trainer.state.global_step)
        if not self.began or self.torn_update or step <= kept or self._numbers is None:
            return kept
        set_random_states(self._numbers)
        trainer._save_checkpoint(trainer.model, None)  # noqa: SLF001 - as its loop; no public way
        self.seal(step)
        return step

    def _keep_best(self, step: int) -> None:
        assert self.session is not None
        with new_folder(checkpoints.best_folder(self.output, step)) as folder:
            self.session.save(folder, base_name=self.base_name)


def best_step(evaluations: list[tuple[int, float]]) -> int:
    """The step with the lowest held-out loss; the first of equals."""
    return min(evaluations, key=lambda pair: pair[1])[0]


def is_over(evaluations: list[tuple[int, float]], patience: int) -> bool:
    """Whether the last `patience` evaluations brought nothing better; never where `patience` is 0."""
    if not patience or not evaluations:
        return False
    steps = [step for step, _ in evaluations]
    return len(steps) - 1 - steps.index(best_step(evaluations)) >= patience


def free_gradients(model: torch.nn.Module) -> None:
    """What a step that ran out had gathered."""
    for parameter in model.parameters():
        parameter.grad = None
