"""bitsandbytes' own CUDA backend, run on the simulated device.

Its CUDA kernels are Python functions that allocate with torch and then call a C library. Executed with
a library that does nothing, they make every buffer that they make on a card: dequantised weights, int8
products, outlier columns. So nothing of bitsandbytes is rewritten here, only its library is absent.
"""

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from bitsandbytes import _ops, cextension, functional

from advisor.simulate import uncompiled
from advisor.simulate.device import NAME
from advisor.tape.target import Target

Kernel = Callable[..., Any]


class _AbsentLibrary:
    """Stands for the compiled library: every function is there, none does anything."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        def nothing(*_: Any) -> int:
            return 0

        return nothing


@functools.cache
def cuda_kernels(target: Target) -> dict[str, Kernel]:
    """Name of a bitsandbytes op, such as `bitsandbytes::gemm_4bit`, to its Python CUDA kernel.

    Kernel choice inside them (fused or dequantised 4-bit product) is made for the target card.
    """
    kernels: dict[str, Kernel] = {}
    _execute("default", kernels)
    cuda = _execute("cuda", kernels)  # CUDA's own replace the defaults
    card = (target.multiprocessors, *target.compute_capability)
    cuda._gpu_dispatch_props = lambda _: card
    # The one default that bitsandbytes 0.50 registers beside the op itself, under no name.
    dequantise = torch.ops.bitsandbytes.int8_vectorwise_dequant.default
    by_default = functools.partial(dequantise._op_dk, torch._C.DispatchKey.CompositeExplicitAutograd)
    kernels.setdefault(dequantise.name(), by_default)
    return kernels


def _execute(backend: str, kernels: dict[str, Kernel]) -> Any:
    def collect(name: str, device: str) -> Callable[[Kernel], Kernel]:
        def keep(kernel: Kernel) -> Kernel:
            if device in ("cuda", "default"):
                kernels[name] = kernel
            return kernel

        return keep

    name = f"bitsandbytes.backends.{backend}.ops"
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    with (
        mock.patch.object(_ops, "register_kernel", collect),
        mock.patch.object(cextension, "lib", _AbsentLibrary()),
        mock.patch.object(torch._C, "_cuda_getCurrentRawStream", _zero, create=True),
        mock.patch.object(torch, "compile", uncompiled),
    ):
        spec.loader.exec_module(module)
    return module


def _zero(_: object) -> int:
    return 0


class _NoContext:
    @staticmethod
    def get_instance() -> "_NoContext":
        return _NoContext()

    def get_context(self, _: torch.device) -> int:
        return 0


@contextlib.contextmanager
def absent_pointers() -> Iterator[None]:
    """Tensors of the simulated device have no memory, so their pointers are zero."""
    with (
        mock.patch.object(functional, "get_ptr", _zero),
        mock.patch.object(functional, "CUBLAS_Context", _NoContext),
        mock.patch.object(torch.Tensor, "data_ptr", _pointer),
    ):
        yield


_data_ptr = torch.Tensor.data_ptr


def _pointer(tensor: torch.Tensor) -> int:
    return 0 if tensor.device.type == NAME else _data_ptr(tensor)
