"""Scaled dot product attention as the target card would run it.

torch picks one of its kernels by card, dtype, mask, head size and grouping. On the simulated device
`F.scaled_dot_product_attention` is replaced by this choice, so the model's own code around it runs as it is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from advisor.simulate.device import NAME
from advisor.tape.target import Target

_real = functional.scaled_dot_product_attention

_FLASH_HEAD_SIZE = 256  # sdp_utils.cpp, check_head_dim_size_flash
_HALF = (torch.float16, torch.bfloat16)


class Question(NamedTuple):
    """What `F.scaled_dot_product_attention` is asked; the names are torch's."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    attn_mask: torch.Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False


def sdpa_for(target: Target) -> Callable[..., torch.Tensor]:
    """A stand-in for `F.scaled_dot_product_attention`."""

    def sdpa(*args: Any, **kwargs: Any) -> torch.Tensor:
        asked = Question(*args, **kwargs)
        if asked.query.device.type != NAME:
            return _real(*args, **kwargs)
        if asked.query.shape[1] % asked.key.shape[1]:
            raise ValueError(f"{asked.query.shape[1]} query heads can't share {asked.key.shape[1]} key heads")
        asked = _under_autocast(asked)
        return _RUN[choose(target, asked.query, asked.key, masked=asked.attn_mask is not None)](asked)

    return sdpa


def choose(target: Target, query: torch.Tensor, key: torch.Tensor, *, masked: bool) -> str:
    """cudnn, flash, efficient or math.

    Source: aten/src/ATen/native/transformers/cuda/sdp_utils.cpp (torch 2.13): on data-centre cards since Hopper
    cuDNN comes first, with half precision and heads of at most 128; flash needs sm80, half precision, no mask and
    heads of at most 256; memory-efficient needs equal head counts and, before sm80, no bf16; math takes what is left.
    """
    modern = target.compute_capability >= (8, 0)
    half = query.dtype in _HALF
    if half and query.shape[-1] <= target.cudnn_head_size:
        return "cudnn"
    if modern and half and not masked and query.shape[-1] <= _FLASH_HEAD_SIZE:
        return "flash"
    grouped = query.shape[1] != key.shape[1]
    if not grouped and (modern or query.dtype is not torch.bfloat16):
        return "efficient"
    return "math"


def _under_autocast(asked: Question) -> Question:
    if not torch.is_autocast_enabled(NAME):
        return asked
    dtype = torch.get_autocast_dtype(NAME)
    # The last first, as gcc evaluates the arguments of a call.
    value, key, query = (tensor.to(dtype) for tensor in (asked.value, asked.key, asked.query))
    return asked._replace(query=query, key=key, value=value)


def _flash(asked: Question) -> torch.Tensor:
    query, key, value, _, dropout, causal, scale, _ = asked
    op = torch.ops.aten._scaled_dot_product_flash_attention
    output: torch.Tensor = op(query, key, value, dropout, causal, return_debug_mask=False, scale=scale)[0]
    return output


def _cudnn(asked: Question) -> torch.Tensor:
    query, key, value, _, dropout, causal, scale, _ = asked
    op = torch.ops.aten._scaled_dot_product_cudnn_attention
    learns = query.requires_grad
    output: torch.Tensor = op(
        query,
        key,
        value,
        _additive_mask(asked),
        learns,
        dropout,
        causal,
        return_debug_mask=False,
        scale=scale,
    )[0]
    return output


def _additive_mask(asked: Question) -> torch.Tensor | None:
    """The mask in the query's dtype (convert_boolean_attn_mask), for every head."""
    query, key, mask = asked.query, asked.key, asked.attn_mask
    if mask is None:
        return None
    if mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def _efficient(asked: Question) -> torch.Tensor:
    query, key, value, _, dropout, causal, scale, _ = asked
    mask = _additive_mask(asked)
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    output: torch.Tensor = op(query, key, value, mask, query.requires_grad, dropout, causal, scale=scale)[0]
    return output


def _math(asked: Question) -> torch.Tensor:
    query, key, value, mask, dropout, causal, scale, grouped = asked
    op = torch.ops.aten._scaled_dot_product_attention_math
    output: torch.Tensor = op(
        query, key, value, mask, dropout, causal, None, scale=scale, enable_gqa=grouped
    )[0]
    return output


_RUN = {"cudnn": _cudnn, "flash": _flash, "efficient": _efficient, "math": _math}
