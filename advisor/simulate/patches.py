"""The few places where torch, transformers, accelerate or TRL ask which device they are on.

Each patch makes the real library take the path that it takes on CUDA; nothing of a step is rewritten.
"""

import functools
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import accelerate
import accelerate.state
import bitsandbytes
import bitsandbytes.functional
import torch
import transformers.masking_utils
import transformers.modeling_utils
import trl.kernels.chunked_logprob as chunked_logprob
import trl.trainer.utils
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional
from transformers import TrainingArguments

from advisor.simulate.attention import sdpa_for
from advisor.simulate.autocast import install_autocast
from advisor.simulate.bitsandbytes_cuda import absent_pointers
from advisor.simulate.device import NAME, simulated_device
from advisor.simulate.recorder import Recorder, layer_of_name


@contextmanager
def simulated_libraries(card: Recorder) -> Iterator[None]:
    """Everything that the real step needs to run on the simulated device, undone at the end."""
    install_autocast()
    with ExitStack() as stack:
        for patch in _patches(card):
            stack.enter_context(patch)
        stack.enter_context(absent_pointers())
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
        patch(nn.Module, "_apply", _apply),
        # Subclasses of a FakeTensor (bitsandbytes' Params4bit, Int8Params) must be FakeTensors themselves.
        patch(torch.Tensor, "_make_subclass", staticmethod(_make_subclass)),
        # As torch does it for CUDA: written on the CPU, then copied to the card.
        patch(torch, "tensor", _tensor),
        patch(functional, "scaled_dot_product_attention", sdpa_for(card.target)),
        # A FakeTensor mask counts as tracing, which always builds the whole mask; a card does not.
        patch(transformers.masking_utils, "is_tracing", lambda *_: False),
        patch(transformers.modeling_utils, "caching_allocator_warmup", _warmup(card)),
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
        *_triton_patches(card),
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


def _apply(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:  # noqa: FBT001, FBT002
    for child in self.children() if recurse else ():
        child._apply(fn)
    for name, parameter in list(self._parameters.items()):
        if parameter is None:
            continue
        with torch.no_grad():
            moved = fn(parameter)
        if moved.dtype is not parameter.dtype or moved.device != parameter.device:
            self._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
    for name, buffer in list(self._buffers.items()):
        if buffer is not None:
            self._buffers[name] = fn(buffer)
    return self


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


def _tensor(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
    if device is None or torch.device(device).type != NAME:
        return _real_tensor(data, device=device, **kwargs)
    return _real_tensor(data, **kwargs).to(device)


_real_make_subclass = torch.Tensor._make_subclass


def _make_subclass(cls: Any, data: torch.Tensor, requires_grad: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
    if not isinstance(data, FakeTensor):
        return _real_make_subclass(cls, data, requires_grad, **kwargs)
    tensor = data.detach()
    tensor.__class__ = _fake_subclass(cls)
    tensor.requires_grad_(requires_grad)
    tensor._is_param = True
    return tensor


@functools.cache
def _fake_subclass(cls: type) -> type:
    """A FakeTensor with the methods of `cls`, whose data can be replaced by data on another device."""
    subclass = type(cls.__name__, (FakeTensor,), {"data": property(_get_data, _set_data)})
    for name, member in vars(cls).items():
        if name not in ("__new__", "__dict__", "__weakref__", "__doc__"):
            setattr(subclass, name, _rebound(member, subclass))
    if cls is bitsandbytes.nn.Int8Params:
        subclass._quantize = _quantize_int8
    return subclass


def _quantize_int8(parameter: Any, device: torch.device) -> Any:
    """`Int8Params._quantize`, which puts data of the card into a tensor of the CPU: fakes can't."""
    weight = parameter.data.contiguous().to(device=device, dtype=torch.float16)
    quantised, scale, _ = bitsandbytes.functional.int8_vectorwise_quant(weight)
    return bitsandbytes.nn.Int8Params(quantised, requires_grad=False, CB=quantised, SCB=scale)


def _rebound(member: Any, owner: type) -> Any:
    """The member with its `super()` looking above `owner`."""
    if isinstance(member, classmethod | staticmethod):
        return type(member)(_rebound(member.__func__, owner))
    if not isinstance(member, types.FunctionType) or "__class__" not in member.__code__.co_freevars:
        return member
    cells = tuple(
        types.CellType(owner) if name == "__class__" else cell
        for name, cell in zip(member.__code__.co_freevars, member.__closure__ or (), strict=True)
    )
    rebound = types.FunctionType(
        member.__code__, member.__globals__, member.__name__, member.__defaults__, cells
    )
    rebound.__kwdefaults__ = member.__kwdefaults__
    return rebound


_data = torch.Tensor.data


def _get_data(tensor: FakeTensor) -> torch.Tensor:
    plain: torch.Tensor = _data.__get__(tensor)
    return plain


def _set_data(tensor: FakeTensor, value: FakeTensor) -> None:
    _data.__set__(tensor, value)
    tensor.fake_device = value.fake_device


def _warmup(card: Recorder) -> Any:
    """transformers' one large allocation before loading, which leaves its block in the cache."""
    total_bytes = transformers.modeling_utils.get_total_byte_count

    def warmup(model: Any, device_map: dict[str, Any], quantizer: Any) -> None:
        on_card = {name: simulated_device() for name in device_map}
        count = int(next(iter(total_bytes(model, on_card, quantizer).values())))
        card.warm_up(count // 2 * 2, _layer_share(model, on_card, quantizer, total_bytes))

    return warmup


def _layer_share(model: Any, on_card: dict[str, Any], quantizer: Any, total_bytes: Any) -> int:
    one = {name: device for name, device in on_card.items() if layer_of_name(name) == 0}
    return int(next(iter(total_bytes(model, one, quantizer).values()), 0)) if one else 0

