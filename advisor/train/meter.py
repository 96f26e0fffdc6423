"""What a run on a real card costs: memory by phase, step times, the card's own figure."""

import time
from dataclasses import dataclass, field

import torch

from advisor.step.observe import Phase


@dataclass(slots=True)
class PhasePeak:
    """The largest figures seen in one phase, over all its passes."""

    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int = 0


@dataclass(slots=True)
class Meter:
    """An observer that reads the CUDA allocator at each phase mark.

    Peaks are torch's own counters, reset at each mark; reading them costs no synchronisation. Step times
    are wall seconds from one step's first forward to the next's, with one synchronisation a step.
    """

    device: torch.device
    phases: dict[str, PhasePeak] = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)
    device_bytes: int = 0  # the card's used memory by NVML, the largest seen at a phase mark
    static_bytes: int = 0  # allocated when the first forward begins
    _phase: Phase | None = None
    _step_began: float = 0.0
    _in_step: bool = False

    def mark(self, phase: Phase) -> None:
        """A phase begins: book the one before."""
        self._book()
        if phase is Phase.FORWARD and not self._in_step:
            if not self.static_bytes and self._on_cuda:
                self.static_bytes = torch.cuda.memory_allocated()
            self._in_step = True
            self._step_began = self._now()
        self._phase = phase

    def weight(self, name: str) -> None:
        """Loading is one phase; single weights are not told apart."""

    def step_ended(self) -> None:
        """An optimizer step is complete."""
        self._in_step = False
        self.step_seconds.append(self._now() - self._step_began)

    def finish(self) -> None:
        """Book the last phase."""
        self._book()
        self._phase = None

    @property
    def peak_allocated_bytes(self) -> int:
        """torch.cuda.max_memory_allocated over the run."""
        return max((p.peak_allocated_bytes for p in self.phases.values()), default=0)

    @property
    def peak_reserved_bytes(self) -> int:
        """torch.cuda.max_memory_reserved over the run."""
        return max((p.peak_reserved_bytes for p in self.phases.values()), default=0)

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def _now(self) -> float:
        if self._on_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _book(self) -> None:
        if self._phase is None or not self._on_cuda:
            return
        peak = self.phases.setdefault(self._phase.value, PhasePeak())
        peak.peak_allocated_bytes = max(
            peak.peak_allocated_bytes, torch.cuda.max_memory_allocated()
        )
        peak.peak_reserved_bytes = max(peak.peak_reserved_bytes, torch.cuda.max_memory_reserved())
        torch.cuda.reset_peak_memory_stats()
        self.device_bytes = max(self.device_bytes, used_device_bytes())


def used_device_bytes() -> int:
    """The card's memory in use by everyone, as NVML tells it; 0 where NVML can't be asked."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    except pynvml.NVMLError:
        return 0


def allocator_retries() -> int:
    """How often the allocator had to empty its cache and ask again."""
    return int(torch.cuda.memory_stats().get("num_alloc_retries", 0))
