"""Liger's kernels, run on the simulated device.

Like bitsandbytes' they are Python functions that allocate with torch and then launch a kernel, here Triton's. Executed with
a Triton that launches nothing, they make every buffer that they make on a card: tiles of the logits, gradients, copies.
Which path they take hangs on the name of the device, so in their source the simulated one's is put for CUDA's.
"""

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import torch

from advisor.simulate.device import NAME
from advisor.simulate.liger_tiles import own_tiles
from advisor.simulate.recorder import Recorder

_PACKAGES = ("liger_kernel", "triton")
_MODELS = "transformers.models."

Launch = Callable[[tuple[Any, ...]], None]


@contextmanager
def simulated_liger(card: Recorder, *, tiled: bool) -> Iterator[None]:
    """While it lasts liger_kernel runs on the simulated card, and Triton is absent; `tiled`: tiles are parts."""
    device: Any = getattr(torch, NAME)
    major, minor = card.target.compute_capability
    own = card.symbols.liger
    count = own.multiprocessors if own else card.target.multiprocessors
    known = SimpleNamespace(multi_processor_count=count, major=major, minor=minor)
    device.get_device_properties = lambda *_: known
    device.get_device_capability = lambda *_: (major, minor)
    with (
        without_triton(NAME, card.launch),
        own_tiles(card, own, marked=tiled) if own else nullcontext(),
    ):
        yield


@contextmanager
def without_triton(device: str, launch: Launch) -> Iterator[None]:
    """While it lasts liger_kernel takes `device` for CUDA, and has `launch` told of each kernel with its arguments.

    What Liger puts into transformers' own modules and torch's, which is there for the whole process, is undone at the end.
    """
    copy, models = _copy_for(device), _model_modules()
    theirs = _taken_out()
    sys.modules.update(copy.modules)
    sys.meta_path.insert(0, copy)
    copy.launch = launch
    try:
        yield
    finally:
        sys.meta_path.remove(copy)
        copy.modules = _taken_out()
        sys.modules.update(theirs)
        for module, names in models.items():
            vars(module).update(names)


def _taken_out() -> dict[str, ModuleType]:
    """The modules of Liger and Triton, no longer to be found."""
    names = [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]
    return {name: sys.modules.pop(name) for name in names}


def _model_modules() -> dict[ModuleType, dict[str, Any]]:
    """What the module of each architecture holds, and that of torch's functions, into which Liger puts its cross-entropy."""
    found = [
        module for name, module in sys.modules.items() if name.startswith(_MODELS) and ".modeling_" in name
    ]
    found.append(torch.nn.functional)
    return {module: dict(vars(module)) for module in found}


@functools.cache
def _copy_for(device: str) -> "_Copy":
    return _Copy(device)


class _Copy(importlib.abc.MetaPathFinder):
    """A copy of Liger with another device's name in its source, and with a Triton that does nothing."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.modules: dict[str, ModuleType] = {}  # while nobody runs it
        self.launch: Launch = print

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        liger, triton = _PACKAGES
        package = name.partition(".")[0]
        if package == triton:
            return importlib.machinery.ModuleSpec(name, _AbsentTriton(self), is_package=True)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if package == liger else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Renaming(name, spec.origin, self.device)
        return spec


class _Renaming(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, device: str) -> None:
        super().__init__(name, path)
        self.device = device

    def get_code(self, _name: str) -> CodeType:
        """The code from the source, never from a kept compilation."""
        source = self.get_data(self.path).decode()
        source = source.replace("torch.cuda.is_available()", "True").replace(
            "torch.cuda.", f"torch.{self.device}."
        )
        code: CodeType = compile(
            source.replace('"cuda"', f'"{self.device}"'), self.path, "exec", dont_inherit=True
        )
        return code


class _AbsentTriton(importlib.abc.Loader):
    def __init__(self, copy: _Copy) -> None:
        self.copy = copy

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """A stand-in whose compiled functions tell of their launch."""
        module = _Triton(spec.name)
        module.jit = lambda *_, **__: _Kernel(self.copy)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Triton(ModuleType):
    """It has every name; sizes are reckoned as Triton does it."""

    __version__ = "3.0.0"
    jit: Any

    @staticmethod
    def cdiv(a: int, b: int) -> int:
        """The quotient, rounded up."""
        return -(-a // b)

    @staticmethod
    def next_power_of_2(n: int) -> int:
        """The least power of two that is no less."""
        return 1 << (n - 1).bit_length()

    class constexpr:  # noqa: N801 - Triton's name
        """A constant."""

        def __init__(self, value: Any) -> None:
            """Of that value."""
            self.value = value

    def __getattr__(self, name: str) -> Any:
        """A decorator that changes nothing, called or not."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: _unchanged


def _unchanged(function: Any) -> Any:
    return function


class _Kernel:
    """`kernel[grid](…)` launches it."""

    def __init__(self, copy: _Copy) -> None:
        self.copy = copy

    def __getitem__(self, _grid: Any) -> Callable[..., None]:
        """Ready for its arguments."""

        def launched(*args: Any, **kwargs: Any) -> None:
            self.copy.launch((*args, *kwargs.values()))

        return launched
