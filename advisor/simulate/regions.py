"""Keeps the recorder's `layer`: which decoder layer the step is in, forward and backward."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from peft.tuners.lora.model import LoraModel
from torch import nn

from advisor.simulate.recorder import Recorder, layer_of_name
from advisor.step.adapt import decoder_layers
from advisor.step.observe import Phase


def watch_layers(model: nn.Module, card: Recorder) -> None:
    """Tell the card when a layer's forward begins and ends, and when its backward begins.

    In the backward phase a layer lasts until the gradient of the one below it is there: its recompute
    is followed by its own backward.
    """
    layers = decoder_layers(model)
    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(_enter(card, index))
        layer.register_forward_hook(_leave(card, index, last=index == len(layers) - 1))


def _enter(card: Recorder, index: int) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        card.enter(index, inputs[0] if inputs else None)

    return hook


def _leave(card: Recorder, index: int, *, last: bool) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if isinstance(hidden, torch.Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda _: _enter_backward(card, index))
        if last and card.phase != Phase.BACKWARD:
            card.leave_layers()

    return hook


def _enter_backward(card: Recorder, index: int) -> None:
    if card.phase == Phase.BACKWARD:
        card.enter(index)


@contextmanager
def watch_adapters(card: Recorder) -> Iterator[None]:
    """Tell the card which layer PEFT places an adapter in."""
    place = LoraModel._create_and_replace

    def placed(self: Any, *args: Any, **kwargs: Any) -> Any:
        with card.within(layer_of_name(kwargs["current_key"])):
            return place(self, *args, **kwargs)

    with mock.patch.object(LoraModel, "_create_and_replace", placed):
        yield
