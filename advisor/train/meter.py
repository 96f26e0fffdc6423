"""What a run on a real card costs: memory by phase, step times, the card's own figure."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pynvml
import torch

from advisor.step.observe import Phase

FIRST_STEP, LATER_STEPS = "first-step", "later-steps"


@dataclass(slots=True)
class PhasePeak:
    """The largest figures seen in one phase, over all its passes."""

    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int = 0
    peak_device_bytes: int = 0  # by NVML, when the phase ended; 0 where it can't be read

    def include(self, allocated_bytes: int, reserved_bytes: int, device_bytes: int) -> None:
        """One more pass of the phase."""
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, allocated_bytes)
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, reserved_bytes)
        self.peak_device_bytes = max(self.peak_device_bytes, device_bytes)

    def to_json(self) -> dict[str, int | None]:
        """The three figures by name."""
        return {
            "peak_allocated_bytes": self.peak_allocated_bytes,
            "peak_reserved_bytes": self.peak_reserved_bytes,
            "peak_device_bytes": self.peak_device_bytes or None,
        }


@dataclass(slots=True)
class Meter:
    """An observer that reads the CUDA allocator at each phase mark.

    Peaks are torch's own counters, read once and reset at each mark, which costs no synchronisation. Step
    times are wall seconds from one step's first forward to its end, with one synchronisation at each.
    On a CPU only the times are taken.
    """

    device: torch.device
    after_step: Callable[[int], None] | None = None  # told how many steps have ended
    phases: dict[str, PhasePeak] = field(default_factory=dict)
    steps: dict[str, PhasePeak] = field(default_factory=dict)  # first-step, later-steps: all phases of each
    step_seconds: list[float] = field(default_factory=list)
    device_bytes: int = 0  # the card's used memory by NVML, the largest seen at a phase mark
    static_bytes: int = 0  # allocated when the first forward begins
    _phase: Phase | None = None
    _step_began: float = 0.0
    _in_step: bool = False
    _read_device: Callable[[], int] | None = None

    def mark(self, phase: Phase) -> None:
        """A phase begins: book the one before."""
        self._book()
        if self._phase is None and self.on_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)  # what came before belongs to no phase
        if phase is Phase.FORWARD and not self._in_step:
            if not self.static_bytes and self.on_cuda:
                self.static_bytes = torch.cuda.memory_allocated(self.device)
            self._in_step = True
            self._step_began = self._now()
        self._phase = phase

    def weight(self, name: str) -> None:
        """Loading is one phase; single weights are not told apart."""

    def step_ended(self) -> None:
        """An optimizer step is complete."""
        seconds = self._now() - self._step_began
        self._book()
        self._in_step = False
        self.step_seconds.append(seconds)
        if self.after_step is not None:
            self.after_step(len(self.step_seconds))

    def finish(self) -> None:
        """Book the last phase."""
        self._book()
        self._phase = None

    @property
    def on_cuda(self) -> bool:
        """Whether there is memory to measure."""
        return self.device.type == "cuda"

    @property
    def peak_allocated_bytes(self) -> int:
        """torch.cuda.max_memory_allocated over the run."""
        return max((p.peak_allocated_bytes for p in self.phases.values()), default=0)

    @property
    def peak_reserved_bytes(self) -> int:
        """torch.cuda.max_memory_reserved over the run."""
        return max((p.peak_reserved_bytes for p in self.phases.values()), default=0)

    def _now(self) -> float:
        if self.on_cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _book(self) -> None:
        if self._phase is None or not self.on_cuda:
            return
        # One reading for both peaks: each of torch's single getters builds the whole table anew.
        now = torch.cuda.memory_stats_as_nested_dict(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        self._read_device = self._read_device or device_reader(self.device)
        device_bytes = self._read_device()
        self.device_bytes = max(self.device_bytes, device_bytes)
        for peak in self._open():
            peak.include(_peak(now, "allocated_bytes"), _peak(now, "reserved_bytes"), device_bytes)

    def _open(self) -> Iterator[PhasePeak]:
        """What the present moment belongs to: a phase, and within a step also that."""
        if self._phase is not None:
            yield self.phases.setdefault(self._phase.value, PhasePeak())
        if self._in_step:
            yield self.steps.setdefault(LATER_STEPS if self.step_seconds else FIRST_STEP, PhasePeak())


def device_reader(device: torch.device) -> Callable[[], int]:
    """Reads the card's memory in use by everyone, as NVML tells it; reads 0 where NVML can't be asked."""
    try:
        pynvml.nvmlInit()
        # By UUID, for NVML counts also the cards that CUDA_VISIBLE_DEVICES hides.
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return lambda: 0
    return lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def measured_figures(meter: Meter) -> dict[str, Any]:
    """What the meter read, as a row or a run holds it; memory is None where there is no card."""
    known = meter.on_cuda
    return {
        "static_bytes": meter.static_bytes if known else None,
        "peak_allocated_bytes": meter.peak_allocated_bytes if known else None,
        "peak_reserved_bytes": meter.peak_reserved_bytes if known else None,
        "peak_device_bytes": meter.device_bytes if known else None,
        "alloc_retries": _allocator_retries(meter.device) if known else None,
        "phases": {name: peak.to_json() for name, peak in meter.phases.items()},
        "step_seconds": list(meter.step_seconds),
    }


_TRAINING = (Phase.LOAD, Phase.PREPARE, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)


def training_figures(meter: Meter) -> dict[str, Any]:
    """The figures of load to the last step, without what evaluating and saving took; with the steps' own peaks."""
    figures = measured_figures(meter)
    if not meter.on_cuda:
        return figures
    peaks = [meter.phases[phase.value] for phase in _TRAINING if phase.value in meter.phases]
    for key in ("peak_allocated_bytes", "peak_reserved_bytes", "peak_device_bytes"):
        figures[key] = max((getattr(peak, key) for peak in peaks), default=0) or None
    return figures | {
        "phases": {n: p.to_json() for n, p in (*meter.phases.items(), *meter.steps.items())},
    }


def _allocator_retries(device: torch.device) -> int:
    """How often the allocator had to empty its cache and ask again."""
    return int(torch.cuda.memory_stats(device).get("num_alloc_retries", 0))


def _peak(stats: dict[str, Any], counter: str) -> int:
    return int(stats[counter]["all"]["peak"])
