"""Activations that wait in the host's memory: what `torch.autograd.graph.save_on_cpu` does on a card.

It copies to pinned memory and back on the stream that computes, so the card holds a tensor until its last reader is
done, and a copy of its own from the moment the backward pass asks for it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from advisor.simulate.recorder import Recorder


def offloading(card: Recorder) -> Callable[..., saved_tensors_hooks]:
    """A stand-in for `save_on_cpu`."""

    def pack(tensor: torch.Tensor) -> tuple[torch.device, torch.Tensor]:
        with card.fake_mode:
            waiting = torch.empty(tensor.shape, dtype=tensor.dtype)
        card.host_copy(tensor)
        return tensor.device, waiting

    def unpack(packed: tuple[torch.device, torch.Tensor]) -> torch.Tensor:
        device, waiting = packed
        arrived = torch.empty(waiting.shape, dtype=waiting.dtype, device=device)
        card.host_copy(arrived)
        return arrived

    def save_on_cpu(**_: Any) -> saved_tensors_hooks:
        return saved_tensors_hooks(pack, unpack)

    return save_on_cpu
