"""Attention with fewer key heads than query heads, on cards whose fused kernels can't share them."""

from typing import Any

import torch
from transformers.integrations import sdpa_attention

_SHARING = (8, 0)  # flash attention shares key heads, and needs this compute capability
_stock = sdpa_attention.use_gqa_in_sdpa


def repeat_key_heads_on_old_cards() -> None:
    """Have transformers repeat key heads before SDPA where torch would else fall back to its math kernel.

    transformers 5.23 asks for shared heads whatever the card. Before sm80 only the memory-efficient kernel is fused,
    and it wants as many key heads as query heads; the math kernel holds all [length, length] scores.
    """
    sdpa_attention.use_gqa_in_sdpa = _use_gqa  # type: ignore[assignment]


def _use_gqa(mask: torch.Tensor | None, key: torch.Tensor, *rest: Any) -> bool:
    return compute_capability(key.device) >= _SHARING and bool(_stock(mask, key, *rest))


def compute_capability(device: torch.device) -> tuple[int, int]:
    """Of the card; the simulated card has its own answer, and other devices share as transformers says."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else _SHARING
