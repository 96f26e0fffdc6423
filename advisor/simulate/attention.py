"""Scaled dot product attention as the target card would run it.

torch picks one of its kernels by card, dtype, mask, head size and grouping. On the simulated device
`F.scaled_dot_product_attention` is replaced by this choice, so the model's own code around it runs as it is.
"""

from typing import Any

import torch
from torch.nn import functional

from advisor.simulate.device import NAME
from advisor.simulate.target import Target

_real = functional.scaled_dot_product_attention

_FLASH_HEAD_SIZE = 256  # sdp_utils.cpp, check_head_dim_size_flash
_HALF = (torch.float16, torch.bfloat16)


def sdpa_for(target: Target) -> Any:
    """A stand-in for `F.scaled_dot_product_attention`."""

    def sdpa(  # noqa: PLR0913 - torch's signature
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002
        scale: float | None = None,
        enable_gqa: bool = False,  # noqa: FBT001, FBT002
    ) -> torch.Tensor:
        if query.device.type != NAME:
            return _real(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
        query, key, value = _under_autocast(query, key, value)
        kernel = choose(target, query, key, masked=attn_mask is not None)
        return _RUN[kernel](query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)

    return sdpa


def choose(target: Target, query: torch.Tensor, key: torch.Tensor, *, masked: bool) -> str:
    """flash, efficient or math.

    Source: aten/src/ATen/native/transformers/cuda/sdp_utils.cpp (torch 2.13): flash needs sm80, half
    precision, no mask and heads of at most 256; memory-efficient needs equal head counts and, before
    sm80, no bf16; math takes what is left. cuDNN comes last in the order and is not reached.
    """
    modern = target.compute_capability >= (8, 0)
    half = query.dtype in _HALF
    if modern and half and not masked and query.shape[-1] <= _FLASH_HEAD_SIZE:
        return "flash"
    grouped = query.shape[1] != key.shape[1]
    if not grouped and (modern or query.dtype is not torch.bfloat16):
        return "efficient"
    return "math"


def _under_autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if not torch.is_autocast_enabled(NAME):
        return tensors
    return tuple(t.to(torch.get_autocast_dtype(NAME)) for t in tensors)


def _flash(query: Any, key: Any, value: Any, _: Any, dropout: float, causal: bool, scale: Any, __: bool) -> Any:  # noqa: E501, FBT001, PLR0913
    op = torch.ops.aten._scaled_dot_product_flash_attention
    return op(query, key, value, dropout, causal, return_debug_mask=False, scale=scale)[0]


def _efficient(query: Any, key: Any, value: Any, mask: Any, dropout: float, causal: bool, scale: Any, _: bool) -> Any:  # noqa: E501, FBT001, PLR0913
    if mask is not None and mask.dtype is torch.bool:
        # convert_boolean_attn_mask: an additive mask in the query's dtype.
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    if mask is not None:
        mask = mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    return op(query, key, value, mask, query.requires_grad, dropout, causal, scale=scale)[0]


def _math(query: Any, key: Any, value: Any, mask: Any, dropout: float, causal: bool, scale: Any, gqa: bool) -> Any:  # noqa: E501, FBT001, PLR0913
    op = torch.ops.aten._scaled_dot_product_attention_math
    return op(query, key, value, mask, dropout, causal, None, scale=scale, enable_gqa=gqa)[0]


_RUN = {"flash": _flash, "efficient": _efficient, "math": _math}
