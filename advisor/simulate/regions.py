"""Keeps the ledger's `part`: which decoder layer, or tile of the loss, the step is in."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import torch
from peft.tuners.lora.model import LoraModel
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from trl.kernels import chunked_logprob

from advisor.simulate.ledger import Ledger
from advisor.simulate.recorder import Recorder
from advisor.step.layers import decoder_layers
from advisor.step.observe import Phase
from advisor.tape.events import NO_PART
from advisor.tape.record import TILE_TOKENS, TILES


def watch_layers(model: nn.Module, card: Recorder) -> None:
    """Tell the ledger when a layer's forward begins and ends, and when its backward begins.

    In the backward phase a layer lasts until the gradient of the one below it is there: its recompute
    is followed by its own backward.
    """
    layers = decoder_layers(model)
    for index, layer in enumerate(layers):
        part, last = card.parts.of_layer(index), index == len(layers) - 1
        layer.register_forward_pre_hook(_enter(card, part))
        layer.register_forward_hook(_leave(card, part, last=last))


def _enter(card: Recorder, part: int) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        card.ledger.enter(part, inputs[0] if inputs else None)

    return hook


def _leave(card: Recorder, part: int, *, last: bool) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if isinstance(hidden, torch.Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda _: _enter_backward(card, part))
        if last and card.phase != Phase.BACKWARD:
            card.ledger.leave()

    return hook


def _enter_backward(card: Recorder, part: int) -> None:
    if card.phase == Phase.BACKWARD:
        card.ledger.enter(part)


@contextmanager
def watch_adapters(card: Recorder) -> Iterator[None]:
    """Tell the ledger which layer PEFT places an adapter in."""
    place = LoraModel._create_and_replace

    def placed(self: Any, *args: Any, **kwargs: Any) -> Any:
        ledger = card.ledger
        before, ledger.part = ledger.part, card.parts.of_name(kwargs["current_key"])
        try:
            return place(self, *args, **kwargs)
        finally:
            ledger.part = before

    with mock.patch.object(LoraModel, "_create_and_replace", placed):
        yield


@contextmanager
def watch_optimizer(card: Recorder) -> Iterator[None]:
    """Tell the ledger when the optimizer has stepped: the gradients that die next die all at once."""
    handle = register_optimizer_step_post_hook(lambda *_: card.ledger.leave())
    try:
        yield
    finally:
        handle.remove()


def watch_saving(model: nn.Module, card: Recorder) -> None:
    """Tell the ledger when all weights have been gathered to be saved: what was made for it dies next, all at once."""
    model.register_state_dict_post_hook(lambda *_: card.ledger.leave())


def watch_tiles(card: Recorder) -> AbstractContextManager[Any]:
    """Tell the ledger which tile the chunked loss is in: the one loop there that steps by a tile's tokens."""

    def marking_range(*bounds: int) -> Iterable[int]:
        return tiles(card.ledger, range(*bounds)) if bounds[2:] == (TILE_TOKENS,) else range(*bounds)

    return mock.patch.object(chunked_logprob, "range", marking_range, create=True)


def tiles(ledger: Ledger, each: Iterable[int]) -> Iterator[int]:
    """What a loop over tiles of the loss runs through, each time in a part of its own."""
    for number, start in enumerate(each):
        ledger.enter(TILES + number)
        yield start
    ledger.part = NO_PART
