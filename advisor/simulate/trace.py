"""From a model's config and a training config to a tape: run the real step, cut short, on the simulated card."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
import transformers

from advisor.records import Method, TrainConfig
from advisor.regime import Regime
from advisor.simulate.device import simulated_device
from advisor.simulate.patches import simulated_libraries
from advisor.simulate.recorder import Recorder
from advisor.simulate.regions import watch_adapters, watch_layers
from advisor.simulate.sizes import Symbols, traced_shape
from advisor.simulate.target import Target
from advisor.step.adapt import count_trainable, decoder_layers
from advisor.step.data import random_blocks
from advisor.step.session import Session, build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Shaped
from advisor.tape import NO_LAYER, Tape

_STEPS = 2  # the first makes the optimizer's states, the second shows a step that has them
_EDGE_LAYERS = 4  # first, one before the template, the template, last
_TEMPLATE = 2
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl")


def trace(
    facts: Mapping[str, Any], config: TrainConfig, target: Target, regime: Regime, *, whole: bool = False
) -> Tape:
    """The tape of the config's regime; `whole` traces every layer instead of repeating one.

    Raises: AdvisorError where the model can't be built or the method can't train it.
    """
    layers = int(facts["num_hidden_layers"])
    traced = layers if whole else min(layers, _traced_layers(config))
    cut = {**facts, "num_hidden_layers": traced}
    batch, length = regime.exact
    if not batch:
        batch, length = traced_shape(
            _dimensions(facts), single=regime.single, tokens=regime.tokens
        )
    shaped = replace(
        config,
        micro_batch=batch,
        sequence_length=length,
        accumulation_steps=min(config.accumulation_steps, 2),
    )
    card, session = _record(cut, shaped, target)
    return _tape(card, session, facts, config, target, regime, traced)


def _traced_layers(config: TrainConfig) -> int:
    learning = config.trainable_layers if config.method is Method.LAST_LAYERS else 0
    return _EDGE_LAYERS + learning


def _dimensions(facts: Mapping[str, Any]) -> list[int]:
    return [v for v in facts.values() if isinstance(v, int) and not isinstance(v, bool)]


def _record(
    facts: Mapping[str, Any], config: TrainConfig, target: Target
) -> tuple[Recorder, Session]:
    symbols = Symbols(config.micro_batch, config.sequence_length)
    card = Recorder(target, symbols, int(facts["vocab_size"]))
    rows = config.micro_batch * config.accumulation_steps * _STEPS
    data = random_blocks(rows=rows, sequence_length=config.sequence_length, vocab=16)
    with (
        _quiet(),
        tempfile.TemporaryDirectory() as directory,
        simulated_libraries(card),
        card,
        watch_adapters(card),
    ):
        session = build(
            Shaped(dict(facts), _nothing(card)),
            config,
            RunOptions(output_dir=directory, max_steps=_STEPS),
            train_data=data,
            device=simulated_device(),
            observer=card,
        )
        _name_parts(card, session.model)
        watch_layers(session.model, card)
        session.train()
        _name_optimizer_states(card, session)
        card.events = list(card.events)  # what dies after this belongs to no step
    return card, session


def _nothing(card: Recorder) -> Any:
    """Makes weights without contents, on the CPU, as a checkpoint's slices are."""

    def make(_name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        with card.fake_mode:
            return torch.empty(shape, dtype=dtype)

    return make


def _name_parts(card: Recorder, model: torch.nn.Module) -> None:
    """Say of everything that was loaded what it is, and which layer it belongs to."""
    for name, parameter in model.named_parameters():
        card.relabel(parameter, "parameter", name)
        for state in _quantisation_state(parameter):
            card.relabel(state, "quantisation state", name)
    for name, buffer in model.named_buffers():
        card.relabel(buffer, "buffer", name)


def _name_optimizer_states(card: Recorder, session: Session) -> None:
    names = {id(p): name for name, p in session.model.named_parameters()}
    if session.optimizer is None:
        return
    for parameter, states in session.optimizer.state.items():
        for state in states.values():
            if isinstance(state, torch.Tensor):
                card.relabel(state, "optimizer state", names[id(parameter)])


def _quantisation_state(parameter: torch.Tensor) -> Iterator[torch.Tensor]:
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        yield from (state.absmax, state.code)
        if state.nested:
            yield from (state.offset, state.state2.absmax, state.state2.code)
    scale = getattr(parameter, "SCB", None)
    if scale is not None:
        yield scale


def _tape(  # noqa: PLR0913 - all that a tape says of itself
    card: Recorder,
    session: Session,
    facts: Mapping[str, Any],
    config: TrainConfig,
    target: Target,
    regime: Regime,
    traced: int,
) -> Tape:
    layers = int(facts["num_hidden_layers"])
    further = layers - traced
    return Tape(
        key=regime.key(config, target.family),
        versions={name: version(name) for name in _PACKAGES},
        layers=layers,
        traced_layers=traced,
        template=_TEMPLATE if further else NO_LAYER,
        parameters=_count(session.model, further, learning=False),
        trainable=_count(session.model, further, learning=True),
        sizes=tuple(card.sizes.items),
        kernels=tuple(card.kernels.items),
        labels=tuple(card.labels.items),
        phases=tuple(card.phases.items),
        events=card.settled(),
    )


def _count(model: torch.nn.Module, further: int, *, learning: bool) -> int:
    def weights(part: torch.nn.Module) -> int:
        if learning:
            return count_trainable(part)
        return sum(_elements(p) for n, p in part.named_parameters() if "lora_" not in n)

    return weights(model) + further * weights(decoder_layers(model)[_TEMPLATE]) if further else weights(model)


def _elements(parameter: torch.Tensor) -> int:
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else torch.Size(state.shape).numel()


@contextmanager
def _quiet() -> Iterator[None]:
    """The trace runs libraries that talk to the user as if this were a run; it is none."""
    before = transformers.logging.get_verbosity()
    None
    transformers.logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable(logging.WARNING) if 0 else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()
