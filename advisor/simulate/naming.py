"""Says of every allocation that lives through a step what it is: weight, gradient, optimizer state."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from advisor.simulate.parts import TEMPLATE, Parts
from advisor.simulate.recorder import Recorder
from advisor.step.adapt import count_trainable
from advisor.step.layers import decoder_layers
from advisor.step.session import Session


def name_model(card: Recorder, model: nn.Module) -> None:
    """Say of everything that was loaded what it is, and which part it belongs to."""
    for name, parameter in model.named_parameters():
        card.relabel(parameter, "parameter", name)
        for state in _quantisation_state(parameter):
            card.relabel(state, "quantisation state", name)
    for name, buffer in model.named_buffers():
        card.relabel(buffer, "buffer", name)


def name_gradients(card: Recorder, model: nn.Module) -> None:
    """Have every gradient named when it is there."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_named(card, name))


def _named(card: Recorder, name: str) -> Callable[[torch.Tensor], None]:
    def hook(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            card.gradient(parameter.grad, name)

    return hook


def name_optimizer_states(card: Recorder, session: Session) -> None:
    """Say of every state of the optimizer which weight it belongs to."""
    if session.optimizer is None:
        return
    names = {id(p): name for name, p in session.model.named_parameters()}
    owners: dict[torch.Tensor, str] = {}
    for parameter, states in session.optimizer.state.items():
        for state in states.values():
            if isinstance(state, torch.Tensor):
                # A table that all states share, such as bitsandbytes' code book, is no weight's own.
                owners[state] = "" if state in owners else names[id(parameter)]
    for state, owner in owners.items():
        card.relabel(state, "optimizer state", owner)


def _quantisation_state(parameter: torch.Tensor) -> Iterator[torch.Tensor]:
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        yield from (state.absmax, state.code)
        if state.nested:
            yield from (state.offset, state.state2.absmax, state.state2.code)
    scale = getattr(parameter, "SCB", None)
    if scale is not None:
        yield scale


def count_weights(model: nn.Module, parts: Parts, further: int) -> int:
    """Weights of the whole base model, of which `further` repeats of the template are not there."""
    return _base_weights(model) + further * sum(_base_weights(layer) for layer in _template(model, parts))


def count_learning(model: nn.Module, parts: Parts, further: int) -> int:
    """Weights that learn in the whole model."""
    return count_trainable(model) + further * sum(count_trainable(layer) for layer in _template(model, parts))


def _template(model: nn.Module, parts: Parts) -> list[nn.Module]:
    return [layer for i, layer in enumerate(decoder_layers(model)) if parts.of_layer(i) == TEMPLATE]


def _base_weights(module: nn.Module) -> int:
    return sum(_elements(p) for name, p in module.named_parameters() if "lora_" not in name)


def _elements(parameter: torch.Tensor) -> int:
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else torch.Size(state.shape).numel()
