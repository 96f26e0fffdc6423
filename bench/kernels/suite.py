"""The suite: every kernel, and what running one of them gives."""

import gc
import itertools
from typing import Any

import torch

from advisor.profiles.personal import scrubbed
from bench.kernels.attention import attentions
from bench.kernels.copying import copies
from bench.kernels.elementwise import elementwise
from bench.kernels.inside import Inside, inside
from bench.kernels.kernel import Kernel, Place, UnsupportedError
from bench.kernels.losses import losses
from bench.kernels.matmul import matmuls
from bench.kernels.optimizers import optimizers
from bench.kernels.overhead import overheads
from bench.kernels.quantised import quantised
from bench.kernels.timing import samples

_FAMILIES = (overheads, copies, matmuls, quantised, attentions, elementwise, losses, optimizers)
_LONGEST_REASON = 200  # characters; a CUDA error tells the whole stack


def suite(place: Place, *, quick: bool = False) -> list[Kernel]:
    """Every kernel, those of a quick probe first: who runs out of time has the most telling ones."""
    every = itertools.chain.from_iterable(family(place) for family in _FAMILIES)
    return sorted((k for k in every if k.quick or not quick), key=lambda kernel: not kernel.quick)


def run_kernel(kernel: Kernel, place: Place, budget_seconds: float) -> dict[str, Any]:
    """The kernel's row: raw seconds of one call, or the reason why there are none. Never raises."""
    try:
        call = kernel.make()
        seconds = samples(kernel, call, place.device, budget_seconds)
        held = inside(call, place.device) if kernel.memory else None
    except (torch.OutOfMemoryError, MemoryError):
        return kernel_row(kernel, reason="out of memory")
    except UnsupportedError as error:
        return kernel_row(kernel, reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever a library can't do on this card is a fact about it
        return kernel_row(kernel, reason=_told(error))
    return kernel_row(kernel, seconds=seconds, held=held)


def kernel_row(
    kernel: Kernel, *, seconds: list[float] | None = None, held: Inside | None = None, reason: str = ""
) -> dict[str, Any]:
    """The kernel as a probe holds it."""
    return {
        "name": kernel.name,
        "sizes": dict(kernel.sizes),
        "seconds": seconds and [float(f"{value:.5g}") for value in seconds],
        "flops": kernel.flops,
        "bytes": kernel.bytes,
        "peak_bytes": held and held.peak_bytes,
        "result_bytes": held and held.result_bytes,
        "allocator_events": held and list(held.events),
        "reason": reason,
    }


def _told(error: Exception) -> str:
    """The first line of what a library said, without what is this machine's."""
    line = f"{type(error).__name__}: {error}".split("\n")[0]
    return scrubbed(line)[:_LONGEST_REASON]


def release(device: torch.device) -> None:
    """Give back what a kernel left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
