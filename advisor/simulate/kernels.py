"""What each kernel costs: buffers inside it (from `kernels.toml`), operations and bytes moved."""

import functools
import tomllib
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from advisor.simulate.bitsandbytes_cuda import Touched
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
_ATTENTION_KERNELS = ("cudnn", "flash", "efficient")

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


def lt_workspace_bytes(name: str, args: tuple[Any, ...]) -> int:
    """What cuBLASLt takes for the product, once for each thread; 0 where it does not run it.

    Source: aten/src/ATen/native/cuda/Blas.cpp, addmm_out_cuda_impl: a bias of one dimension, and no row alone.
    """
    if name != "aten::addmm" or args[0].dim() != 1 or 1 in args[1].shape:
        return 0
    return int(_table()["cublas_lt"]["bytes"])


def inside(name: str, args: tuple[Any, ...], measure: Measure) -> list[Size]:
    """Buffers that are alive inside the op, in the order it makes them."""
    if name not in _workspaces():
        return []
    return _INSIDE[name](args, measure)


def _softmax_backward(args: tuple[Any, ...], measure: Measure) -> list[Size]:
    gradient, output = args[:2]
    return [measure(output.shape, max(gradient.element_size(), output.element_size()))]


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


def _cudnn_attention(_: tuple[Any, ...], measure: Measure) -> list[Size]:
    return [measure((_CUDNN_BYTES,), 1)]


def _cudnn_attention_backward(args: tuple[Any, ...], measure: Measure) -> list[Size]:
    query, key = args[1], args[2]
    batch, heads, queries, head_size = query.shape
    each = 4 * head_size + 4  # bytes a row of a head
    if key.shape[1] != heads:
        each += 2 * query.element_size() * head_size
    rows = measure((batch, queries), 1)
    return [_plus(Size(rows.scale * heads * each, rows.factors), _CUDNN_BYTES)]


def _plus(size: Size, constant: int) -> Size:
    """The size and some bytes more; its factors are a batch and a length, as they are."""
    if not size.factors:
        return Size(size.scale + constant)
    batch = sum(f.batch for f in size.factors)
    length = sum(f.sequence for f in size.factors)
    of_both = size.scale if batch and length else 0
    of_one = 0 if of_both else size.scale
    return Size(1, (Factor(constant, of_one * batch, of_one * length, of_both, 1),))


def _rounded(size: Size, multiple: int) -> Size:
    if not size.factors:
        return Size(-(-size.scale // multiple) * multiple)
    return Size(size.scale, tuple(f._replace(multiple=multiple) for f in size.factors))


def _times(left: Size, right: Size, scale: int) -> Size:
    factors: tuple[Factor, ...] = tuple(sorted(left.factors + right.factors))
    return Size(left.scale * right.scale * scale, factors)


_CUDNN_BYTES = 256  # see kernels.toml
_INSIDE = {
    "aten::_softmax_backward_data": _softmax_backward,
    "aten::_scaled_dot_product_flash_attention_backward": _attention_backward,
    "aten::_scaled_dot_product_cudnn_attention": _cudnn_attention,
    "aten::_scaled_dot_product_cudnn_attention_backward": _cudnn_attention_backward,
}


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
    item_bytes = touched[0].element_size() if touched else 0
    kind = (
        _attention_kind(name, args)
        if _ATTENTION in name
        else _kind(name, item_bytes, multiplies=bool(operations))
    )
    return Kernel(kind, tuple(operations), summed(measure(t.shape, t.element_size()) for t in touched))


def library_cost(function: str, touched: Sequence[Touched], measure: Measure) -> Kernel | None:
    """The launch behind a function of bitsandbytes' compiled library; None where it launches nothing known."""
    kind = next((row["kind"] for row in _table()["library"] if function.startswith(row["starts"])), None)
    if kind is None:
        return None
    operations: tuple[Size, ...] = ()
    if kind == "matmul.int8":
        product = next(t for t in touched if t.dtype == torch.int32)
        operations = (measure((*product.shape, touched[0].shape[-1]), 2),)
    return Kernel(kind, operations, summed(measure(t.shape, t.dtype.itemsize) for t in touched))


def product(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor, measure: Measure) -> Kernel:
    """A matrix product into memory that is already there."""
    kind = _kind("", left.element_size(), multiplies=True)
    operations = (measure((*into.shape, left.shape[-1]), 2),)
    return Kernel(
        kind, operations, tuple(measure(t.shape, t.element_size()) for t in (into, left, right, into))
    )


def _kind(name: str, item_bytes: int, *, multiplies: bool) -> str:
    """What a clock tells kernels apart by; 32-bit products do not run on tensor cores."""
    if multiplies:
        return "matmul.fp32" if item_bytes == torch.float32.itemsize else "matmul"
    return "copy" if name in _table()["copies"]["ops"] else "elementwise"


def _attention_kind(name: str, args: tuple[Any, ...]) -> str:
    """Kernel, direction, head size and dtype, for its rate hangs on all of them."""
    backward = "backward" in name
    query = args[1] if backward else args[0]
    which = next((known for known in _ATTENTION_KERNELS if known in name), "other")
    words = ["attention", which, "backward" if backward else "forward", str(query.shape[-1])]
    return ".".join(words + ["fp32"] * (query.dtype == torch.float32))


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
