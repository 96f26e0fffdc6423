"""Measure one configuration in this process, through the same step that the runner trains.

The caller sees to it that the process is fresh: what an earlier run left in the allocator, in cuBLAS or in
a library's globals would be measured with it.
"""

import gc
import gzip
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from advisor.errors import AdvisorError
from advisor.profiles.record import Outcome
from advisor.records import TrainConfig
from advisor.step.data import random_blocks
from advisor.step.session import Session, build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Shaped, random_weights
from advisor.train.card import cap_memory, set_allocator
from advisor.train.environment import environment
from advisor.train.meter import Meter, measured_figures
from advisor.train.sensors import CardSensors, Watch, to_clocks_and_power
from bench.profiled import host_pace_seconds, kernels_of_a_step
from bench.request import BENCHMARK_VERSION, WARMUP_STEPS, asked_for

_LARGEST_SAVE_BYTES = 1 << 30  # saving more would time the disk, and tell nothing of the card
# What libraries say where a card or a build lacks something.
_UNSUPPORTED = (
    "not supported",
    "not implemented",
    "no kernel image",
    "requires compute capability",
    "CUDA Setup failed",
)


class Trains(Protocol):
    """Whatever is measured: a model on a device, ready for its steps."""

    def train(self) -> None:
        """Run the steps; the meter is told of each."""


Make = Callable[[dict[str, Any], TrainConfig, int, Meter, str], Trains]  # facts, config, steps, meter, folder


@dataclass(slots=True)
class _Timed:
    """Reads clocks and power from the end of the warm-up to the end of training."""

    sensors: CardSensors | None
    watch: Watch | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    def after_step(self, ended: int) -> None:
        if ended == WARMUP_STEPS and self.sensors is not None:
            self.watch = self._open.enter_context(self.sensors.watch())

    def close(self) -> None:
        self._open.close()

    def figures(self) -> dict[str, Any]:
        clocks, power = to_clocks_and_power(self.watch.readings()) if self.watch else (None, None)
        return {"clocks": clocks and asdict(clocks), "power": power and asdict(power)}


def measure(
    row: dict[str, Any], device: torch.device, events: Path | None = None, *, make: Make | None = None
) -> dict[str, Any]:
    """The figures of one request and how it ended; `events` takes the allocator's own history.

    `make` puts together another trainer than the runner's own session. A full card, a library that can't and any
    other failure are outcomes, not errors.
    """
    facts, config, cap_bytes, steps = asked_for(row)
    sensors = CardSensors.open(None) if device.type == "cuda" else None
    shared = sensors is not None and sensors.used_by_others(os.getpid())  # before this process is on it, too
    set_allocator(config)
    if cap_bytes is not None and device.type == "cuda":
        cap_memory(cap_bytes, device)
    timed = _Timed(sensors)
    meter = Meter(device, after_step=timed.after_step)
    if events is not None:
        torch.cuda.memory._record_memory_history(  # noqa: SLF001 - torch's documented way, without a public name
            enabled="all", context=None, stacks="python", max_entries=2_000_000
        )
    began = time.perf_counter()
    trace = bool(row.get("kernels"))
    outcome, reason, figures = _measured(facts, config, steps, meter, timed, make or _session, trace=trace)
    if events is not None:
        _save_events(events)
    return {
        "outcome": outcome.value,
        "reason": reason,
        "benchmark_version": BENCHMARK_VERSION,
        "warmup_steps": WARMUP_STEPS,
        **figures,
        **timed.figures(),
        "shared": shared,
        "host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "wall_seconds": time.perf_counter() - began,
        "environment": environment(device),
    }


def _measured(  # noqa: PLR0913 - what is measured, and with what
    facts: dict[str, Any],
    config: TrainConfig,
    steps: int,
    meter: Meter,
    timed: _Timed,
    make: Make,
    *,
    trace: bool,
) -> tuple[Outcome, str, dict[str, Any]]:
    figures: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            session = make(facts, config, steps, meter, folder)
            session.train()
            timed.close()
            meter.finish()
            figures = measured_figures(meter)
            if isinstance(session, Session):
                _further_phases(session, meter, Path(folder))
            peaks = {name: peak.to_json() for name, peak in (*meter.phases.items(), *meter.steps.items())}
            figures |= {"phases": peaks, "host_pace_seconds": host_pace_seconds(meter.device)}
            if trace and isinstance(session, Session):
                figures["kernels"] = kernels_of_a_step(session, meter)
    except Exception as error:  # noqa: BLE001 - a failed row is a row
        outcome, reason = _told(error)
        meter.finish()
        return outcome, reason, figures or measured_figures(meter)
    finally:
        timed.close()
    return Outcome.OK, "", figures


def _session(facts: dict[str, Any], config: TrainConfig, steps: int, meter: Meter, folder: str) -> Session:
    vocab = int(facts.get("vocab_size") or facts["text_config"]["vocab_size"])
    rows = config.effective_batch * steps
    return build(
        Shaped(facts, random_weights(for_card=meter.on_cuda)),
        config,
        RunOptions(output_dir=folder, max_steps=steps),
        train_data=random_blocks(rows=rows, sequence_length=config.sequence_length, vocab=vocab),
        evaluation_data=random_blocks(
            rows=config.micro_batch, sequence_length=config.sequence_length, vocab=vocab, seed=1
        ),
        device=meter.device,
        observer=meter,
    )


def _further_phases(session: Session, meter: Meter, folder: Path) -> None:
    """Evaluate and save: phases of their own, beside the peaks of training. One that runs out stays out."""
    with suppress(torch.OutOfMemoryError):
        session.evaluate()
        meter.finish()
    learns = [p for p in session.model.parameters() if p.requires_grad]
    kept = learns if hasattr(session.model, "peft_config") else list(session.model.parameters())
    if sum(p.numel() * p.element_size() for p in kept) <= _LARGEST_SAVE_BYTES:
        with suppress(torch.OutOfMemoryError):
            session.save(folder / "saved", base_name="measured")
    meter.finish()
    gc.collect()


def _told(error: Exception) -> tuple[Outcome, str]:
    words = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in words:
        return Outcome.OOM, words[:400]
    refused = isinstance(error, AdvisorError | NotImplementedError | ImportError)
    if refused or any(sign.lower() in words.lower() for sign in _UNSUPPORTED):
        return Outcome.UNSUPPORTED, words[:400]
    return Outcome.FAILED, f"{type(error).__name__}: {words}"[:400]


def _save_events(path: Path) -> None:
    """The allocator's own history: [action, bytes, address], in order."""
    trace = torch.cuda.memory._snapshot()["device_traces"][0]  # noqa: SLF001 - as above
    rows = [[entry["action"], entry["size"], entry.get("addr", 0)] for entry in trace]
    path.write_bytes(gzip.compress(json.dumps(rows, separators=(",", ":")).encode()))
