"""What an op made of inputs like these the last time, so that torch need not be asked again.

A step runs a few hundred distinct calls some ten thousand times. What a call makes (shapes, strides, and
whose memory it shares) follows from the shapes, strides and dtypes of its inputs and from its other
arguments, so the second time it is made from memory, which takes a tenth of the time of a FakeTensor's own
dispatch.
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from advisor.simulate.device import NAME

Tensors = list[torch.Tensor]


class Call:
    """One op with its arguments, and the tensors among them."""

    __slots__ = ("_key", "_recallable", "args", "func", "kwargs", "tensors")

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the arguments once, for the tensors and for the key."""
        self.func, self.args, self.kwargs = func, args, kwargs
        self.tensors: Tensors = []
        self._key: list[Any] = [func]
        self._recallable = torch.Tag.inplace_view not in func.tags
        self._read(args)
        for name, value in kwargs.items():
            self._key.append(name)
            self._read((value,))

    def run(self) -> Any:
        """What torch gives."""
        return self.func(*self.args, **self.kwargs)

    def key_in(self, *circumstances: Any) -> tuple[Any, ...] | None:
        """What calls share that make the same in these circumstances; None where that can't be told."""
        return (*self._key, *circumstances) if self._recallable else None

    def _read(self, values: Iterable[Any]) -> None:
        key = self._key
        for value in values:
            if isinstance(value, torch.Tensor):
                self.tensors.append(value)
                if isinstance(value, FakeTensor) and value.constant is None:
                    key += (
                        value.shape,
                        value.stride(),
                        value.dtype,
                        value.storage_offset(),
                        value._fake_device,
                    )
                else:
                    self._recallable = False
            elif isinstance(value, list | tuple):
                key.append(len(value))
                self._read(value)
            else:
                key += (value.__class__, value)  # 1, 1.0 and True are equal, but make different dtypes


class _Made(NamedTuple):
    """How one output came about."""

    source: int  # the input whose memory it shares; _OWN where it has its own
    same: bool  # it is that input itself
    fresh: bool  # it takes memory of its own on the card
    shape: torch.Size
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device


_OWN = -1


class Recipe(NamedTuple):
    """How to make the result of a call again."""

    container: type | None  # tuple or list of outputs; None: one output
    outputs: tuple[Any, ...]  # _Made for a tensor, else the value itself

    def follow(self, tensors: Tensors, mode: FakeTensorMode) -> tuple[Any, Tensors]:
        """The result, and the tensors in it that take memory on the card."""
        fresh: Tensors = []
        results = []
        for made in self.outputs:
            result = made
            if isinstance(made, _Made):
                result = tensors[made.source] if made.same else _make(made, tensors, mode)
                if made.fresh:
                    fresh.append(result)
            results.append(result)
        return (results[0] if self.container is None else self.container(results)), fresh


@functools.cache
def _recipes() -> dict[tuple[Any, ...], Recipe]:
    """Recipes learnt in this process: they hold for every trace."""
    return {}


def make(call: Call, mode: FakeTensorMode) -> tuple[Any, Recipe | None]:
    """What the call gives, and the recipe for it, or None where it depends on more than the call's key."""
    key = call.key_in()
    recipe = _recipes().get(key) if key else None
    if recipe is not None:
        return recipe.follow(call.tensors, mode)[0], recipe
    with mode:
        result = call.run()
    recipe = _learn(call, result) if key else None
    if key and recipe is not None:
        _recipes()[key] = recipe
    return result, recipe


def _learn(call: Call, result: Any) -> Recipe | None:
    container = type(result) if isinstance(result, list | tuple) else None
    if container not in (None, tuple, list):
        return None
    values = (result,) if container is None else result
    outputs = tuple(_made(value, call.tensors) for value in values)
    own = [
        v for v, made in zip(values, outputs, strict=True) if isinstance(made, _Made) and made.source == _OWN
    ]
    if None in outputs or len({v.untyped_storage()._cdata for v in own}) != len(own):
        return None
    return Recipe(container, tuple(None if made is _NOTHING else made for made in outputs))


_NOTHING = object()


def _made(value: Any, tensors: Tensors) -> Any:
    """How a value came about; None where that can't be told."""
    if not isinstance(value, torch.Tensor):
        return _NOTHING if value is None else value if isinstance(value, int | float) else None
    if not isinstance(value, FakeTensor) or value.constant is not None:
        return None
    here = [i for i, t in enumerate(tensors) if t is value]
    storage = value.untyped_storage()._cdata
    sources = here or [i for i, t in enumerate(tensors) if t.untyped_storage()._cdata == storage]
    storage_bytes = value.untyped_storage().nbytes()
    if len(sources) > 1 or not (sources or storage_bytes == _dense_bytes(value)):
        return None
    source = sources[0] if sources else _OWN
    shape, strides, offset = value.shape, value.stride(), int(value.storage_offset())
    fresh = source == _OWN and value.device.type == NAME and storage_bytes > 0
    return _Made(source, bool(here), fresh, shape, strides, offset, value.dtype, value._fake_device)


def _dense_bytes(tensor: torch.Tensor) -> int:
    """Bytes that a tensor of that shape and strides takes when it is made alone."""
    if tensor.numel() == 0:
        return 0
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _make(made: _Made, tensors: Tensors, mode: FakeTensorMode) -> torch.Tensor:
    empty = torch.empty_strided(made.shape, made.strides, dtype=made.dtype, device="meta")
    if made.source != _OWN:
        storage = tensors[made.source].untyped_storage()
        with in_kernel_invocation_manager(mode):
            empty.set_(storage, made.offset, made.shape, made.strides)
    return FakeTensor(mode, empty, made.device)
