"""What each kernel costs: buffers inside it (from `kernels.toml`), operations and bytes moved."""

import functools
import tomllib
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from advisor.tape.record import Factor, Kernel, Size

# Views and bookkeeping: they launch nothing.
_FREE = frozenset(
    f"aten::{name}"
    for name in (
        *("view", "_unsafe_view", "t", "transpose.int", "expand", "unsqueeze", "squeeze.dim"),
        *("slice.Tensor", "select.int", "permute", "detach", "alias", "as_strided", "split.Tensor"),
        *("split_with_sizes", "chunk", "unbind.int", "_reshape_alias", "empty.memory_format"),
        *("new_empty", "empty_like", "empty_strided", "lift_fresh", "view_as_real", "_to_copy.view"),
        *("new_empty_strided", "squeeze", "squeeze.dims", "is_same_size", "set_.source_Storage"),
    )
)
_ATTENTION = "_scaled_dot_product"

# Bytes of a tensor of that shape and item size, as `Symbols.size` gives them.
Measure = Callable[[Iterable[int], int], Size]


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("advisor.simulate").joinpath("kernels.toml").read_text())


@functools.cache
def _workspaces() -> dict[str, dict[str, Any]]:
    return {row["op"]: row for row in _table()["workspace"]}


@functools.cache
def _cublas_ops() -> frozenset[str]:
    return frozenset(_table()["cublas"]["ops"])


def uses_cublas(name: str) -> bool:
    """Whether the op multiplies through a cuBLAS handle."""
    return name in _cublas_ops()


def inside(name: str, args: tuple[Any, ...], measure: Measure) -> list[Size]:
    """Buffers that are alive inside the op, in the order it makes them."""
    return _attention_backward(args, measure) if name in _workspaces() else []


def _attention_backward(args: tuple[Any, ...], measure: Measure) -> list[Size]:
    query, key = args[1], args[2]
    batch, heads, queries, head_size = query.shape
    item = query.element_size()
    per_head = measure((batch, heads), 4)
    rounded = _rounded(measure((queries,), 1), 128)
    buffers = [
        _times(per_head, rounded, 1),
        _times(per_head, rounded, -(-head_size // 32) * 32),
    ]
    if key.shape[1] != heads:
        whole = measure((batch, queries, heads, head_size), item)
        buffers += [whole, whole]
    return buffers


def _rounded(size: Size, multiple: int) -> Size:
    if not size.factors:
        return Size(-(-size.scale // multiple) * multiple)
    return Size(size.scale, tuple(f._replace(multiple=multiple) for f in size.factors))


def _times(left: Size, right: Size, scale: int) -> Size:
    factors: tuple[Factor, ...] = tuple(sorted(left.factors + right.factors))
    return Size(left.scale * right.scale * scale, factors)


def cost(
    func: Any,
    args: tuple[Any, ...],
    touched: list[torch.Tensor],
    outputs: list[torch.Tensor],
    measure: Measure,
) -> Kernel | None:
    """The launch's kind, operations and bytes, or None where nothing is launched.

    `touched`: every tensor that it reads or writes, the outputs among them.
    """
    name = func.name()
    if name in _FREE:
        return None
    operations = _operations(func, args, outputs, measure)
    kind = "matmul" if operations else "elementwise"
    if _ATTENTION in name:
        kind = "attention"
    return Kernel(kind, tuple(operations), summed(measure(t.shape, t.element_size()) for t in touched))


def _operations(
    func: Any, args: tuple[Any, ...], outputs: list[torch.Tensor], measure: Measure
) -> list[Size]:
    """Multiply-adds count as two; attention counts the causal half."""
    name = func.name()
    if _ATTENTION in name:
        return [_attention_operations(name, args, measure)]
    if func._overloadpacket not in flop_registry or not outputs:
        return []
    left = args[1] if "addmm" in name or "baddbmm" in name else args[0]
    inner = left.shape[-1]
    return [measure((*outputs[0].shape, inner), 2)]


def _attention_operations(name: str, args: tuple[Any, ...], measure: Measure) -> Size:
    query = args[1] if "backward" in name else args[0]
    batch, heads, queries, head_size = query.shape
    # Two products of 2*S*S*D each, half of it masked; the backward pass makes five.
    each = 5 if "backward" in name else 2
    return measure((batch, heads, queries, queries, head_size, each), 1)


def summed(sizes: Iterable[Size]) -> tuple[Size, ...]:
    """The sizes as a sum, those with like factors as one."""
    total: dict[tuple[Factor, ...], int] = {}
    for size in sizes:
        total[size.factors] = total.get(size.factors, 0) + size.scale
    return tuple(Size(scale, factors) for factors, scale in sorted(total.items()))
