"""The step, tried out on the longest batch before the first real one, and undone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from advisor.plan.document import PlannedRun
from advisor.records import TrainConfig
from advisor.step.labels import IGNORED
from advisor.step.observe import Phase
from advisor.train.card import release_cache
from advisor.train.compare import phase_peaks
from advisor.train.meter import Meter, measured_figures
from advisor.units import gib

# The first step makes the optimizer's states; only the second has them beside its activations.
_STEPS = 2
# The first micro-batch makes the gradients; from the second on they lie beside the activations.
_MICRO_BATCHES = 2


class DisturbedError(Exception):
    """The rehearsal left the weights changed: this optimizer moves them at a learning rate of zero, too."""


@dataclass(slots=True)
class Rehearsal:
    """Trains twice on the longest batch at a learning rate of zero, evaluates, and takes back what that left.

    A hook of the trainer's (`before_training`). Afterwards weights, optimizer, scaler, random numbers and the
    allocator's peaks are as before; `figures` holds what was measured, as `train/meter.py` tells it.
    Raises: torch.OutOfMemoryError where the card is too small; DisturbedError where the weights moved.
    """

    blocks: Dataset
    evaluation: Dataset | None  # a batch of what is evaluated on the way; None: nothing is
    device: torch.device
    figures: dict[str, Any] | None = None
    done: bool = False

    def __call__(self, trainer: Any) -> None:
        """Try the trainer's own step."""
        meter = Meter(self.device)
        before = _fingerprint(trainer.model)
        with _undone(trainer, meter):
            for _ in range(_STEPS):
                _step(trainer, self.blocks)
                meter.step_ended()
            if self.evaluation is not None:  # beside the optimizer's states, as on the way
                _evaluate(trainer, self.evaluation)
        meter.finish()
        self.figures = measured_figures(meter)
        release_cache(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        if _fingerprint(trainer.model) != before:
            raise DisturbedError
        self.done = True


def longest_blocks(blocks: Dataset, micro_batch: int, accumulation_steps: int) -> Dataset:
    """The blocks that take most: of equal length, those with the most tokens that the loss counts."""
    count = micro_batch * min(accumulation_steps, _MICRO_BATCHES)
    labels = blocks.with_format("numpy")["labels"] if "labels" in blocks.column_names else None
    if labels is None:
        return blocks.select(range(min(count, len(blocks))))
    counted = np.concatenate(
        [
            (np.asarray(labels[i : i + 4096]) != IGNORED).sum(axis=1, dtype=np.int64)
            for i in range(0, len(blocks), 4096)
        ]
    )
    return blocks.select(np.argsort(-counted, kind="stable")[:count])


def compared(figures: dict[str, Any], planned: PlannedRun, config: TrainConfig) -> str:
    """The rehearsal's peaks, over all and by phase, beside the plan's, which predicts its own config alone; for people."""
    slowest = max(figures["step_seconds"])
    if figures["peak_reserved_bytes"] is None:
        return (
            f"rehearsed on the longest batch, {slowest:.2f} s a step; no card, so its memory was not measured"
        )
    estimate = planned.estimate if config == planned.config else {}
    parts, beyond = [], ""
    for key, word in (("peak_allocated_bytes", "allocated"), ("peak_reserved_bytes", "reserved")):
        said = estimate.get(key)
        predicted = said if isinstance(said, dict) else {}
        told = f", predicted {gib(predicted['value'])}" if "value" in predicted else ""
        parts.append(f"{gib(figures[key])} {word}{told}")
        if figures[key] > predicted.get("high", figures[key]):
            beyond = "WARNING: more than predicted: "
    parts += [
        f"{row.label.strip()} {gib(row.measured)}, predicted {gib(row.predicted)}"
        for row in phase_peaks(estimate, figures)
        if row.measured is not None and row.predicted is not None
    ]
    return f"{beyond}rehearsed on the longest batch: {'; '.join(parts)}"


def _evaluate(trainer: Any, blocks: Dataset) -> None:
    """One batch as the trainer's own evaluation takes it; nobody who counts evaluations is told."""
    trainer.observer.mark(Phase.EVALUATE)
    size = trainer.args.per_device_eval_batch_size
    loader = trainer.get_eval_dataloader(blocks.select(range(min(size, len(blocks)))))
    trainer.evaluation_loop(loader, description="Rehearsal", prediction_loss_only=True)


def _step(trainer: Any, blocks: Dataset) -> None:
    """One optimizer step as the trainer's own loop does it."""
    size = trainer.args.per_device_train_batch_size
    count = max(1, len(blocks) // size)
    real = trainer.train_dataset
    trainer.train_dataset = blocks
    try:
        loader = iter(trainer.get_train_dataloader())
    finally:
        trainer.train_dataset = real
    batches, items = trainer.get_batch_samples(loader, count, trainer.args.device)
    trainer.current_gradient_accumulation_steps = len(batches)
    for number, inputs in enumerate(batches, 1):
        trainer.accelerator.gradient_state._set_sync_gradients(number == len(batches))  # noqa: SLF001 - as its loop
        trainer.training_step(trainer.model_wrapped, inputs, items)
    trainer._clip_grad_norm(trainer.model_wrapped)  # noqa: SLF001 - as its loop
    if not _keeps_pages(trainer):
        trainer.optimizer.step()
    trainer.model_wrapped.zero_grad()


def _keeps_pages(trainer: Any) -> bool:
    """Whether a step would take memory for good: bitsandbytes 0.50 never frees a paged state.

    Its pages lie beside what torch allocates, and move to the host where the card is full, so they can't run out.
    """
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    return trainer.args.device.type == "cuda" and bool(getattr(optimizer, "is_paged", False))


@contextmanager
def _undone(trainer: Any, meter: Meter) -> Iterator[None]:
    """Take back everything but a change of the weights, which a learning rate of zero prevents."""
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    scaler = trainer.accelerator.scaler
    scale: dict[str, Any] = {} if scaler is None else scaler.state_dict()
    rates = [{k: copy(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    loaders = len(trainer.accelerator._dataloaders)  # noqa: SLF001 - no public way to take one back
    counts = {name: getattr(trainer, name) for name in ("_total_train_tokens",) if hasattr(trainer, name)}
    observer, numbers = trainer.observer, random_states()
    trainer.observer = meter
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if not isinstance(group["lr"], torch.Tensor) else torch.zeros_like(group["lr"])
    if scaler is not None:  # a first scale of 65536 may overflow, and a step that is skipped makes no states
        scaler.load_state_dict({**scale, "scale": 1.0})
    try:
        yield
    finally:
        trainer.observer = observer
        trainer.model_wrapped.zero_grad(set_to_none=True)
        optimizer.state.clear()
        for group, kept in zip(optimizer.param_groups, rates, strict=True):
            for added in group.keys() - kept.keys() - {"params"}:
                del group[added]
            group.update(kept)
        if scaler is not None:
            scaler.load_state_dict(scale)
        del trainer.accelerator._dataloaders[loaders:]  # noqa: SLF001
        for name, value in counts.items():
            setattr(trainer, name, value)
        if hasattr(trainer, "_metrics"):
            for averages in trainer._metrics.values():  # noqa: SLF001 - TRL's, for the next log line
                averages.clear()
        set_random_states(numbers)


def random_states() -> dict[str, Any]:
    """Every generator that a step may draw from."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - the legacy one is what libraries draw from
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_states(states: dict[str, Any]) -> None:
    """As `random_states` gave them."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def _fingerprint(model: torch.nn.Module) -> list[int]:
    """A sum over the bits of each weight that learns: another where any one of them changed."""
    learning = [p for p in model.parameters() if p.requires_grad]
    sums = [p.detach().view(_INTEGERS[p.element_size()]).sum(dtype=torch.int64) for p in learning]
    return [int(total) for total in torch.stack(sums).tolist()]
