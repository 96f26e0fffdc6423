"""The probe's kernels as benchmarks: `pytest bench/test_kernels.py --benchmark-json kernels.json`.

The numbers are the probe's own: each sample is measured as there, and handed to pytest-benchmark by a clock that
counts only measured seconds. So what is queued is waited for, and what Python spends in between is left out. Without
a card the kernels that a CPU can run are run small.
"""

import gc
from dataclasses import dataclass

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels.inside import inside
from bench.kernels.kernel import Kernel, Place, UnsupportedError
from bench.kernels.suite import suite
from bench.kernels.timing import rhythm, sample, warm_up

_ON_CUDA = torch.cuda.is_available()
_CPU_SCALE = 1 / 64
_KERNEL_SECONDS = 0.02 if _ON_CUDA else 0.002
_PLACE = Place(torch.device("cuda", 0)) if _ON_CUDA else Place(torch.device("cpu"), _CPU_SCALE)


@dataclass
class Clock:
    """Tells the seconds that were measured so far."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


CLOCK = Clock()


def _name(kernel: Kernel) -> str:
    return "-".join([kernel.name, *(f"{name}{value}" for name, value in kernel.sizes.items())])


def _kernels() -> list[Kernel]:
    """All on a card; on a CPU, where no rate is of interest, one of each name."""
    every = suite(_PLACE)
    return every if _ON_CUDA else list({kernel.name: kernel for kernel in every}.values())


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kernel", _kernels(), ids=_name)
def test_kernel(benchmark: BenchmarkFixture, kernel: Kernel) -> None:
    """One call."""
    try:
        call = kernel.make()
        warm_up(call, _PLACE.device)
    except (UnsupportedError, RuntimeError, MemoryError) as error:
        gc.collect()
        pytest.skip(str(error).split("\n")[0])
    found = rhythm(call, _PLACE.device, _KERNEL_SECONDS)

    def one_sample() -> None:
        CLOCK.seconds += sample(kernel, call, _PLACE.device, found)

    benchmark.extra_info.update(kernel.sizes, flops=kernel.flops, bytes=kernel.bytes)
    benchmark.pedantic(one_sample, rounds=found.samples, iterations=1)  # type: ignore[no-untyped-call]
    held = inside(call, _PLACE.device) if kernel.memory else None
    if held is not None:
        benchmark.extra_info["inside_bytes"] = held.inside_bytes
