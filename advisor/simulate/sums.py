"""Sums of gradients, which the autograd engine makes in place, but not while something watches the dispatcher.

A value that is used twice gets two gradients, and the engine adds the second into the memory of the first if nobody else
holds it (torch/csrc/autograd/input_buffer.cpp, `can_accumulate_inplace`). A dispatch mode makes it refuse, and add into new
memory. So a mode that stands for a card must tell such a sum from the others, and give the first gradient's memory back.
"""

import functools
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ADD = torch.ops.aten.add.Tensor
_ENGINE = "_engine_run_backward"  # the Python function that runs the engine in the caller's own thread

_WRAPPERS = ("torch/_compile.py", "torch/_dynamo/eval_frame.py")  # keep a mode from being compiled


def is_in_place(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the op, as a dispatch mode sees it, is a sum that the engine would make in its first argument.

    Call it from `__torch_dispatch__` itself: it looks at who called that, and at who holds the arguments.
    """
    if func is not _ADD or torch.is_grad_enabled() or len(args) != 2 or not _called_by_engine():
        return False
    holders = _holders(args)
    first, second = args
    alike = isinstance(second, torch.Tensor) and (first.shape, first.dtype) == (second.shape, second.dtype)
    return alike and _is_dense(first) and holders == unshared_holders()


@functools.cache
def unshared_holders() -> tuple[int, int, int]:
    """What `_holders` counts of a gradient that the engine alone holds; found out by such a sum.

    Call it once before a mode watches that will ask `is_in_place`.
    """
    seen: list[tuple[int, int, int]] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is _ADD and not torch.is_grad_enabled():
                seen.append(_holders(args))
            return func(*args, **(kwargs or {}))

    used_twice = torch.ones(2, requires_grad=True)
    with torch.enable_grad(), Watch():  # type: ignore[no-untyped-call]
        torch.stack([used_twice * 2, used_twice * 3]).sum().backward()
    (counts,) = seen
    return counts


def _called_by_engine() -> bool:
    """The engine calls from a thread of its own, which has no Python frames, or from the function that runs it."""
    caller = sys._getframe(2).f_back  # who called `__torch_dispatch__`, or what torch wraps it in
    while caller is not None and caller.f_code.co_filename.endswith(_WRAPPERS):
        caller = caller.f_back
    return caller is None or caller.f_code.co_name == _ENGINE


def _holders(args: tuple[Any, ...]) -> tuple[int, int, int]:
    """How many hold the first argument: in C++, its storage, and in Python."""
    storage = args[0].untyped_storage()._cdata
    in_storage = torch._C._storage_Use_Count(storage)
    return args[0]._use_count(), in_storage, sys.getrefcount(args[0])


def _is_dense(tensor: torch.Tensor) -> bool:
    strides = sorted(zip(tensor.stride(), tensor.shape, strict=True))
    expected = 1
    for stride, size in strides:
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
