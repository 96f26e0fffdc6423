"""What the tests of the probe need: a row, and a quick probe of the CPU."""

import torch

from advisor.profiles.probe import SCHEMA
from bench.kernels.kernel import Place
from bench.probe import Budget, probe

_ROW_KERNEL = {
    "name": "matmul.bf16",
    "sizes": {"m": 2, "k": 3, "n": 4},
    "seconds": [0.5, 0.25, 1.0],
    "flops": 48,
    "bytes": 52,
    "peak_bytes": 1536,
    "result_bytes": 512,
    "allocator_events": [512, 1024, -1024, -512],
    "module_bytes": 0,
    "reason": "",
}
ROW = {
    "schema": SCHEMA,
    "kind": "probe",
    "benchmark_version": 1,
    "measured_at": "2026-11-25T08:00:00+00:00",
    "quick": False,
    "facts": {"context_bytes": 500 << 20, "cublas_workspace_bytes": {"forward": 32 << 20}},
    "kernels": [_ROW_KERNEL],
}


def quick_probe():
    """A quick probe of the CPU, small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as there are cores would wait for each other in such small kernels
    try:
        return probe(
            Place(torch.device("cpu"), 1 / 64), None, quick=True, budget=Budget(kernel_seconds=0.001)
        )
    finally:
        torch.set_num_threads(threads)
