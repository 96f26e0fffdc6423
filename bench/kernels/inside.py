"""What a call takes from the CUDA allocator while it runs, and what it leaves."""

from dataclasses import dataclass

import torch

from bench.kernels.kernel import Call

_MOST_EVENTS = 64  # a call with more is no single kernel
_SIGNS = {"alloc": 1, "free_completed": -1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """A warm call's memory; the bytes are the allocator's, rounded to 512, those of the events as asked for."""

    peak_bytes: int  # over what was allocated before the call
    result_bytes: int  # still allocated while what it returned is held
    events: tuple[int, ...]  # allocations, and frees below zero, in order; empty where there were too many

    @property
    def inside_bytes(self) -> int:
        """The most that was held beyond the result."""
        return self.peak_bytes - self.result_bytes


def inside(call: Call, device: torch.device) -> Inside | None:
    """What one call holds; None where there is no CUDA allocator to ask.

    The call must be warm: a first one also makes cuBLAS workspaces, which stay.
    """
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    left = torch.cuda.memory_allocated(device) - before
    del result
    return Inside(peak_bytes=peak, result_bytes=left, events=_events(call, device))


def _events(call: Call, device: torch.device) -> tuple[int, ...]:
    """The allocator's own history of a call of which nothing is kept."""
    record = torch.cuda.memory._record_memory_history  # noqa: SLF001 - documented, without a public name
    record(enabled="all", context=None, stacks="python", max_entries=1000)
    try:
        call()
        torch.cuda.synchronize(device)
        history = torch.cuda.memory._snapshot(device)["device_traces"][device.index or 0]  # noqa: SLF001 - as above
    finally:
        record(enabled=None)
    events = [_SIGNS[entry["action"]] * int(entry["size"]) for entry in history if entry["action"] in _SIGNS]
    return tuple(events) if len(events) <= _MOST_EVENTS else ()
