"""Autocast on the simulated device: the casts and the weight cache of AutocastCUDA.

Source: aten/src/ATen/autocast_mode.h and autocast_mode.cpp (torch 2.13): the lists of ops, `cached_cast`
and its conditions, and `clear_cache` at the outermost exit.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.library import Library, fallthrough_kernel
from torch.utils._pytree import tree_map

from advisor.simulate.device import NAME

# AT_FORALL_LOWER_PRECISION_FP, as far as a language model's step can reach it.
_LOWER = (
    *("matmul", "mm", "mv", "bmm", "addmm", "addmv", "addr", "addbmm", "baddbmm", "linear"),
    *("chain_matmul", "linalg_multi_dot", "prelu", "scaled_dot_product_attention"),
    *("_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"),
    *("_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math"),
)
# AT_FORALL_FP32.
_FULL = (
    *("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p"),
    *("reciprocal", "rsqrt", "sinh", "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar"),
    *("softplus", "layer_norm", "native_layer_norm", "group_norm", "cosine_similarity"),
    *("nll_loss", "kl_div", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "dist"),
    *("binary_cross_entropy_with_logits", "cdist", "renorm", "logsumexp"),
)
# AT_FORALL_FP32_SET_OPT_DTYPE: fp32 inside, unless the caller names a dtype.
_FULL_UNLESS_NAMED = (
    *("prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum"),
    *("linalg_vector_norm", "sum", "sum.dim_IntList"),
)
# AT_FORALL_PROMOTE: the widest dtype among the arguments.
_WIDEST = ("addcdiv", "addcmul", "atan2", "cross", "dot", "index_put", "tensordot", "scatter_add")

_KEY: Any = torch._C.DispatchKey.AutocastPrivateUse1  # type: ignore[attr-defined]


class _WeightCache:
    """fp32 leaf weights and their low-precision copies, alive until the outermost autocast ends."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}

    def copy_of(self, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        known = self._copies.get(id(weight))
        if known is not None and known[0]() is weight:
            return known[1]
        copy = weight.to(dtype)
        self._copies[id(weight)] = (weakref.ref(weight), copy)
        return copy

    def clear(self) -> None:
        self._copies.clear()


_cache = _WeightCache()
_clear_torch_cache = torch.clear_autocast_cache


def clear_cache() -> None:
    """What `torch.autocast` calls when the outermost context ends, also after each recompute."""
    _cache.clear()
    _clear_torch_cache()


@functools.cache
def install_autocast() -> tuple[Library, Library]:
    """Register the casting kernels with torch; once a process."""
    fallback = Library("_", "IMPL")
    fallback.fallback(fallthrough_kernel, _KEY.name)
    casts = Library("aten", "IMPL")
    rules = ((_LOWER, _to_lower), (_FULL, _to_full), (_FULL_UNLESS_NAMED, _to_full_unless_named))
    for names, rule in (*rules, (_WIDEST, _to_widest)):
        for name in names:
            casts.impl(name, _kernel(_overload(name), rule), _KEY.name)
    torch.clear_autocast_cache = clear_cache
    return fallback, casts


def _overload(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _kernel(op: Any, rule: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> Any:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_KEY)):
            return rule(op, args, kwargs)

    return kernel


def _eligible(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.device.type == NAME
        and value.dtype is not torch.float64
    )


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if not _eligible(value) or value.dtype is dtype:
        return value
    if dtype is not torch.float32 and _cacheable(value):
        return _cache.copy_of(value, dtype)
    return value.to(dtype)


def _cacheable(value: torch.Tensor) -> bool:
    return (
        value.dtype is torch.float32
        and value.requires_grad
        and value.is_leaf
        and not value._is_view()
        and torch.is_autocast_cache_enabled()
    )


def _to_lower(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    dtype = torch.get_autocast_dtype(NAME)
    named = {name: _cast_all(value, dtype) for name, value in reversed(kwargs.items())}
    # The last first, as gcc evaluates the arguments of a call: bias, weight, input.
    placed = [_cast_all(value, dtype) for value in reversed(args)]
    return op(*reversed(placed), **named)


def _cast_all(value: Any, dtype: torch.dtype) -> Any:
    return tree_map(lambda v: _cast(v, dtype), value)


def _to_full(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return op(*tree_map(lambda v: _cast(v, torch.float32), args), **kwargs)


def _to_full_unless_named(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    named = kwargs.get("dtype") is not None or any(isinstance(a, torch.dtype) for a in args)
    if named or not _eligible(args[0]) or args[0].dtype is torch.float32:
        return op(*args, **kwargs)
    return op(*args, **{**kwargs, "dtype": torch.float32})


def _to_widest(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [a for a in args if _eligible(a)]
    wide = any(t.dtype is torch.float32 for t in tensors)
    dtype = torch.float32 if wide else (tensors[0].dtype if tensors else torch.float32)
    return op(*tree_map(lambda v: _cast(v, dtype), args), **kwargs)
