"""A device named `simgpu`: autograd, autocast and dispatch work on it, nothing is computed.

torch's own way to write a backend in Python (`_setup_privateuseone_for_python_backend`, experimental,
torch 2.13), under FakeTensors. CUDA FakeTensors are refused by a CPU wheel: autograd aborts.
"""

import functools

import torch
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "simgpu"


class _Module(_DummyBackendModule):  # type: ignore[misc]
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def is_available(self) -> bool:
        # Else FakeTensorMode would put the constants of `torch.tensor(...)` on the device, and fail.
        return False


@functools.cache
def simulated_device() -> torch.device:
    """The device, registered with torch the first time; a process can have one such backend."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    return torch.device(NAME, 0)
