"""What FakeTensors can't do that the libraries ask of tensors: to be moved in place, and to be subclassed."""

import copy
import functools
import types
from typing import Any

import bitsandbytes
import bitsandbytes.functional
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor


def replacing_apply(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """`nn.Module._apply` that puts new parameters where the old ones were."""
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


_real_make_subclass = torch.Tensor._make_subclass


def make_fake_subclass(cls: Any, data: torch.Tensor, requires_grad: bool = False, **kwargs: Any) -> Any:
    """`torch.Tensor._make_subclass` that takes FakeTensors too."""
    if not isinstance(data, FakeTensor):
        return _real_make_subclass(cls, data, requires_grad, **kwargs)
    tensor = data.detach()
    tensor.__class__ = _fake_subclass(cls)
    tensor.requires_grad_(requires_grad)
    tensor._is_param = True
    return tensor


@functools.cache
def _fake_subclass(cls: type) -> Any:
    """A FakeTensor with the methods of `cls`, whose data can be replaced by data on another device."""
    subclass: Any = type(cls.__name__, (FakeTensor,), {"data": property(_get_data, _set_data)})
    for name, member in vars(cls).items():
        if name not in ("__new__", "__dict__", "__weakref__", "__doc__"):
            setattr(subclass, name, _rebound(member, subclass))
    if cls is bitsandbytes.nn.Int8Params:
        subclass._quantize = _quantize_int8
    if cls is bitsandbytes.nn.Params4bit:
        subclass.__deepcopy__ = _deepcopy_4bit
    return subclass


def _deepcopy_4bit(parameter: Any, _memo: dict[int, Any]) -> Any:
    """`Params4bit.__deepcopy__`, which begins with a tensor of no data: a fake can't be made so."""
    copied = make_fake_subclass(bitsandbytes.nn.Params4bit, parameter.data)
    copied.__setstate__(parameter.__getstate__())
    copied.quant_state = copy.deepcopy(parameter.quant_state)
    copied.data = copy.deepcopy(parameter.data)
    return copied


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


_data: Any = torch.Tensor.data


def _get_data(tensor: FakeTensor) -> torch.Tensor:
    plain: torch.Tensor = _data.__get__(tensor)
    return plain


def _set_data(tensor: FakeTensor, value: FakeTensor) -> None:
    _data.__set__(tensor, value)
    tensor.fake_device = value.fake_device
