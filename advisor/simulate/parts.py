"""Cuts a model to the layers that are worth tracing, and says which part of the tape each belongs to.

Decoder layers that are all alike make a part each. Where they come in a pattern (local and global attention)
one period of it makes a part. Where they follow none the model is not cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from advisor.errors import AdvisorError
from advisor.records import Checkpointing, Method, TrainConfig
from advisor.step.checkpoint import check_count
from advisor.step.layers import decoder_layers
from advisor.step.load import causal_class
from advisor.step.weights import build_config
from advisor.tape.events import NO_PART
from advisor.tape.regime import EDGE_PARTS

TEMPLATE = 2  # the part that the tape repeats: it has two before it and at least one behind it
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
    checkpointed_layers: int | None = None  # of those that are there, where not all are checkpointed
    kept_template: int = (
        NO_PART  # the part that stands for layers that were left out and keep their activations
    )
    template: int = NO_PART  # the part that stands for the other layers that were left out

    @property
    def further(self) -> int:
        """Parts that were left out."""
        return (self.layers - self.parts.layers) // self.parts.period

    @property
    def kept_layers(self) -> int:
        """Layers that are there and keep their activations, where others are checkpointed."""
        return 0 if self.checkpointed_layers is None else self.parts.layers - self.checkpointed_layers


def cut(facts: Mapping[str, Any], config: TrainConfig, *, whole: bool) -> Cut:
    """The model without the layers that only repeat others; `whole` leaves none out.

    Raises: AdvisorError where transformers can't build the model, or it has fewer layers than are to be checkpointed.
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
    layers, period = len(signatures), 0 if whole else _period(signatures)
    split = config.checkpointed_layers if config.checkpointing is not Checkpointing.NONE else None
    if split is not None:
        check_count(split, layers)
        split = split if split < layers else None
    groups = _groups(config, layers, period, split)
    there = sum(group.there for group in groups)
    shorter = {k: v[:there] if isinstance(v, list) and len(v) == layers else v for k, v in facts.items()}
    parts = Parts(there, period or 1)
    first = groups[0]
    made = Cut(shorter | {"num_hidden_layers": there}, parts, layers, int(built.vocab_size))
    if split is None:
        return replace(made, template=TEMPLATE if made.further else NO_PART)
    # A group that is just long enough has a template, too: the tape also answers for counts that need it.
    return replace(
        made,
        checkpointed_layers=first.there,
        template=TEMPLATE if first.repeats else NO_PART,
        kept_template=parts.of_layer(first.there) + TEMPLATE if groups[1].repeats else NO_PART,
    )


class _Group(NamedTuple):
    """Layers that are checkpointed alike."""

    there: int  # how many of them are traced
    repeats: bool  # whether those are enough for one to stand for more


def _groups(config: TrainConfig, layers: int, period: int, split: int | None) -> list[_Group]:
    """The first `split` layers and the others, or all; `period` is 0 where none stands for others."""
    counts = [layers] if split is None else [split, layers - split]
    if not period or any(count % period for count in counts[1:]):
        return [_Group(count, repeats=False) for count in counts]
    learning = config.trainable_layers if config.method is Method.LAST_LAYERS else 0
    groups: list[_Group] = []
    for count in reversed(counts):  # the last layers learn first
        here = min(learning, count)
        learning -= here
        needed = (EDGE_PARTS + -(-here // period)) * period + count % period
        groups.insert(0, _Group(min(count, needed), repeats=count >= needed))
    return groups


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
