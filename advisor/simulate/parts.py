"""Cuts a model to the layers that are worth tracing, and says which part of the tape each belongs to.

Decoder layers that are all alike make a part each. Where they come in a pattern (local and global attention)
one period of it makes a part. Where they follow none the model is not cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from advisor.errors import AdvisorError
from advisor.records import Method, TrainConfig
from advisor.step.adapt import decoder_layers
from advisor.step.load import causal_class
from advisor.step.weights import build_config
from advisor.tape.events import NO_PART

TEMPLATE = 2  # the part that the tape repeats: it has two before it and at least one behind it
_EDGE_PARTS = 4  # first, one before the template, the template, last
_LONGEST_PERIOD = 8
_LISTS = ("layers", "h", "blocks")  # what architectures call the list of their decoder layers


@dataclass(frozen=True, slots=True)
class Parts:
    """How traced layers make parts: `period` of them each; what is left over goes to the first."""

    layers: int
    period: int = 1

    def of_layer(self, layer: int) -> int:
        """The part of the layer of that number."""
        return max(layer - self.layers % self.period, 0) // self.period

    def of_name(self, name: str) -> int:
        """The part that a weight's or module's name says, such as 3 for `model.layers.3.mlp`."""
        words = name.split(".")
        for before, word in pairwise(words):
            if before in _LISTS and word.isdigit():
                return self.of_layer(int(word))
        return NO_PART


@dataclass(frozen=True, slots=True)
class Cut:
    """A model with some of its layers left out."""

    facts: dict[str, Any]
    parts: Parts
    layers: int  # of the whole model
    vocab: int

    @property
    def further(self) -> int:
        """Parts that were left out."""
        return (self.layers - self.parts.layers) // self.parts.period


def cut(facts: Mapping[str, Any], config: TrainConfig, *, whole: bool) -> Cut:
    """The model without the layers that only repeat others; `whole` leaves none out.

    Raises: AdvisorError where transformers can't build the model.
    """
    built = build_config(facts)
    if built.get_text_config() is not built:
        raise AdvisorError(
            f"A {built.model_type!r} model has more parts than a language model.",
            why="only the text part is trained here",
            fix="give the content of text_config as the config",
        )
    signatures = _signatures(built)
    if not signatures:
        raise AdvisorError("The model has no decoder layers.", fix="check num_hidden_layers")
    layers, period = len(signatures), _period(signatures)
    learning = config.trainable_layers if config.method is Method.LAST_LAYERS else 0
    needed = (_EDGE_PARTS + -(-learning // period)) * period + layers % period if period else layers
    kept = layers if whole else min(layers, needed)
    shorter = {k: v[:kept] if isinstance(v, list) and len(v) == layers else v for k, v in facts.items()}
    return Cut(shorter | {"num_hidden_layers": kept}, Parts(kept, period or 1), layers, int(built.vocab_size))


def _signatures(config: PretrainedConfig) -> list[tuple[Any, ...]]:
    """What tells one decoder layer from another, layer by layer: its weights and its settings."""
    causal_class(config)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    return [_signature(layer) for layer in decoder_layers(skeleton)]


def _signature(layer: nn.Module) -> tuple[Any, ...]:
    weights = tuple((name, weight.shape) for name, weight in layer.named_parameters())
    settings = tuple(
        (name, key, value)
        for name, module in layer.named_modules()
        for key, value in vars(module).items()
        if key != "layer_idx" and isinstance(value, bool | int | float | str | None)
    )
    return weights, settings


def _period(signatures: list[tuple[Any, ...]]) -> int:
    """Layers after which the pattern begins again; 0 where there is none."""
    for period in range(1, min(_LONGEST_PERIOD, len(signatures)) + 1):
        if all(signature == signatures[i % period] for i, signature in enumerate(signatures)):
            return period
    return 0
