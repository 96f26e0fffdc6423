"""The few places where torch, transformers, accelerate or TRL ask which device they are on.

Each patch makes the real library take the path that it takes on CUDA; nothing of a step is rewritten.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

import accelerate
import accelerate.state
import bitsandbytes
import bitsandbytes.functional
import numpy as np
import torch
import transformers.masking_utils
import transformers.modeling_utils
import transformers.trainer_pt_utils
import trl.trainer.utils
from bitsandbytes.optim.optimizer import Optimizer8bit
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional
from transformers import TrainingArguments
from trl.kernels import chunked_logprob

import advisor.step.grouped
from advisor.simulate.attention import sdpa_for
from advisor.simulate.autocast import install_autocast
from advisor.simulate.bitsandbytes_cuda import absent_pointers
from advisor.simulate.device import NAME, simulated_device
from advisor.simulate.host import offloading
from advisor.simulate.parts import TEMPLATE
from advisor.simulate.recorder import Recorder
from advisor.simulate.saving import saving_patches
from advisor.simulate.subclasses import make_fake_subclass, replacing_apply


@contextmanager
def simulated_libraries(card: Recorder) -> Iterator[None]:
    """Everything that the real step needs to run on the simulated device, undone at the end."""
    install_autocast()
    with ExitStack() as stack:
        for patch in _patches(card):
            stack.enter_context(patch)
        stack.enter_context(absent_pointers())
        stack.enter_context(_values_by_copy())
        try:
            yield
        finally:
            accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
            accelerate.state.GradientState._reset_state()


def _patches(card: Recorder) -> list[Any]:
    patch = mock.patch.object
    device = property(lambda _: simulated_device(), lambda *_: None)
    return [
        # FakeTensors can't be swapped in place, so `module.to` replaces parameters.
        patch(nn.Module, "_apply", replacing_apply),
        # Subclasses of a FakeTensor (bitsandbytes' Params4bit, Int8Params) must be FakeTensors themselves.
        patch(torch.Tensor, "_make_subclass", staticmethod(make_fake_subclass)),
        patch(functional, "scaled_dot_product_attention", sdpa_for(card.target)),
        patch(advisor.step.grouped, "compute_capability", lambda _: card.target.compute_capability),
        patch(functional, "softmax", _softmax),
        # A FakeTensor mask counts as tracing, which always builds the whole mask; a card does not.
        patch(transformers.masking_utils, "is_tracing", lambda *_: False),
        patch(transformers.modeling_utils, "caching_allocator_warmup", _warmup(card)),
        patch(transformers.modeling_utils, "save_on_cpu", offloading(card)),
        patch(transformers.trainer_pt_utils, "nested_numpify", _numbers),
        # bitsandbytes keeps its code tables for the process; each trace is a process of its own.
        patch(bitsandbytes.functional, "name2qmap", {}),
        patch(TrainingArguments, "_setup_devices", property(_setup_devices)),
        patch(accelerate.PartialState, "device", device, create=True),
        patch(accelerate.state.AcceleratorState, "device", device, create=True),
        patch(accelerate.Accelerator, "__init__", _accelerator_init),
        patch(accelerate.accelerator, "get_grad_scaler", lambda *_, **__: _scaler()),
        # PEFT asks whether autocast is on without naming a device, which means CUDA.
        patch(torch, "is_autocast_enabled", _is_autocast_enabled),
        patch(torch, "get_autocast_gpu_dtype", lambda: torch.get_autocast_dtype(NAME)),
        *saving_patches(card),
        *_foreach_patches(),
        *_paged_patches(card),
        *_triton_patches(card),
    ]


def _numbers(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """What the evaluation's losses become on the host: nothing was computed, so all are zero."""
    return np.zeros(tensor.cpu().shape, dtype=np.float32)


_real_softmax = functional.softmax


def _softmax(
    values: torch.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """On CUDA fp16 becomes fp32 within the kernel, without a copy (aten/src/ATen/native/SoftMax.cpp)."""
    within = values.device.type == NAME and values.dtype is torch.float16 and dtype is torch.float32
    if not within or dim is None:
        return _real_softmax(values, dim, _stacklevel, dtype)
    result: torch.Tensor = torch.ops.aten._softmax(values, dim, half_to_float=True)
    return result


def _foreach_patches() -> list[Any]:
    # torch works on whole lists of tensors at once where all are of a known type: a FakeTensor stands for one.
    modules = [import_module(name) for name in ("torch.optim.optimizer", "torch.utils._foreach_utils")]
    return [
        mock.patch.object(module, "_foreach_supported_types", [*module._foreach_supported_types, FakeTensor])
        for module in modules
    ]


_real_state_buffer = Optimizer8bit.get_state_buffer


def _paged_patches(card: Recorder) -> list[Any]:
    """Managed memory of bitsandbytes is not the allocator's: the card pages it in from the host."""

    def get_paged(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        with card.fake_mode:
            paged: Any = torch.empty(shape, dtype=dtype)
        paged.is_paged = True
        paged.page_deviceid = device.index
        made: torch.Tensor = paged
        return made

    def get_state_buffer(optimizer: Any, weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> Any:
        state = _real_state_buffer(optimizer, weight, dtype)
        if getattr(state, "is_paged", False):
            card.paged(state, weight)
        return state

    patch = mock.patch.object
    nothing = lambda *_, **__: None  # noqa: E731
    functional_patches = (("get_paged", get_paged), ("fill", nothing), ("prefetch_tensor", nothing))
    return [
        *(patch(bitsandbytes.functional, name, new) for name, new in functional_patches),
        patch(Optimizer8bit, "get_state_buffer", get_state_buffer),
    ]


def _triton_patches(card: Recorder) -> list[Any]:
    # On CUDA the tiles are folded by a Triton kernel, which allocates nothing, and the products are
    # accumulated in fp32 by addmm itself.
    patch = mock.patch.object
    return [
        patch(chunked_logprob, "_use_triton", lambda _: True),
        patch(trl.trainer.utils, "_use_triton", lambda _: True),
        patch(chunked_logprob, "triton", _Triton, create=True),
        patch(chunked_logprob, "_forward_kernel", _Launch()),
        patch(chunked_logprob, "_backward_kernel", _Launch()),
        patch(chunked_logprob, "_addmm_fp32", _addmm_fp32(card)),
    ]


class _Triton:
    @staticmethod
    def cdiv(a: int, b: int) -> int:
        return -(-a // b)


class _Launch:
    def __getitem__(self, _grid: Any) -> Any:
        return lambda *_args, **_kwargs: None


def _addmm_fp32(card: Recorder) -> Any:
    """`torch.addmm(..., out_dtype=fp32, out=accumulated)`: on CUDA one product and no copy."""

    def addmm(accumulated: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        if left.dtype in (torch.float16, torch.bfloat16):
            card.product(accumulated, left, right)
        else:
            accumulated.addmm_(left, right)

    return addmm


_real_accelerator_init = accelerate.Accelerator.__init__


def _accelerator_init(self: Any, *args: Any, **kwargs: Any) -> None:
    # accelerate allows fp16 on a list of device types; the simulated one stands for CUDA.
    with mock.patch.object(accelerate.Accelerator, "device", property(lambda _: torch.device("cuda"))):
        _real_accelerator_init(self, *args, **kwargs)


def _scaler() -> torch.amp.GradScaler:
    scaler = torch.amp.GradScaler("cpu")
    scaler._device = simulated_device().type
    return scaler


_real_setup_devices = vars(TrainingArguments)["_setup_devices"].func


def _setup_devices(arguments: TrainingArguments) -> torch.device:
    if not hasattr(arguments, "distributed_state"):
        _real_setup_devices(arguments)
    return simulated_device()


_real_is_autocast_enabled = torch.is_autocast_enabled


def _is_autocast_enabled(device_type: str = NAME) -> bool:
    return bool(_real_is_autocast_enabled(device_type))


_real_tensor = torch.tensor


def _tensor_by_copy(*args: Any, **kwargs: Any) -> torch.Tensor:
    torch._C._set_only_lift_cpu_tensors(True)  # noqa: FBT003 - of this thread, which may be the engine's
    return _real_tensor(*args, **kwargs)


@contextmanager
def _values_by_copy() -> Iterator[None]:
    """Numbers that become a tensor are written on the CPU, then copied to the card, as torch does it for CUDA."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # noqa: FBT003 - torch's signature
    try:
        with mock.patch.object(torch, "tensor", _tensor_by_copy):
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def _warmup(card: Recorder) -> Any:
    """The loader's one large allocation before loading, which leaves its block in the cache."""
    total_bytes = transformers.modeling_utils.get_total_byte_count

    def warmup(model: Any, device_map: dict[str, Any], quantizer: Any) -> None:
        on_card = {name: simulated_device() for name in device_map}
        count = int(next(iter(total_bytes(model, on_card, quantizer).values())))
        one = {name: device for name, device in on_card.items() if card.parts.of_name(name) == TEMPLATE}
        share = int(next(iter(total_bytes(model, one, quantizer).values()), 0)) if one else 0
        card.warm_up(count // 2 * 2, share)

    return warmup
