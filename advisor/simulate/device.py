"""A device named `simgpu`: autograd, autocast and dispatch work on it, nothing is computed.

torch's own way to write a backend in Python (`_setup_privateuseone_for_python_backend`, experimental,
torch 2.13), under FakeTensors. CUDA FakeTensors are refused by a CPU wheel: autograd aborts.
"""

import functools

import torch
from torch.library import Library
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "simgpu"


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def is_available(self) -> bool:
        # Else FakeTensorMode would put the constants of `torch.tensor(...)` on the device, and fail.
        return False


# Ops that torch can also take apart, and does for a backend that has no kernel of its own for them. CUDA
# has one: in torch 2.13 every op with both a CompositeImplicitAutograd and a CPU registration.
_OWN_KERNELS = ("silu_backward", "mish_backward", "native_channel_shuffle")


@functools.cache
def simulated_device() -> torch.device:
    """The device, registered with torch the first time; a process can have one such backend."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    kernels = Library("aten", "IMPL")
    for name in _OWN_KERNELS:
        kernels.impl(name, _never_runs, "PrivateUse1")
    _libraries.append(kernels)  # a library that is collected takes its kernels along
    return torch.device(NAME, 0)


_libraries: list[Library] = []


def _never_runs(*_: object) -> None:
    """The recorder answers before a kernel is reached."""
    raise NotImplementedError


# At import, for autograd makes its threads, one a device that is there, in the process's first backward pass.
simulated_device()
