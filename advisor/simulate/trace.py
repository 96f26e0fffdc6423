"""From a model's config and a training config to a tape: run the real step, cut short, on the simulated card."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from advisor.errors import AdvisorError
from advisor.records import Loss, TrainConfig
from advisor.simulate.device import simulated_device
from advisor.simulate.liger import simulated_liger
from advisor.simulate.lines import model_line, nowhere
from advisor.simulate.naming import (
    count_learning,
    count_weights,
    name_gradients,
    name_model,
    name_optimizer_states,
)
from advisor.simulate.parts import TEMPLATE, Cut, cut
from advisor.simulate.patches import simulated_libraries
from advisor.simulate.quiet import quiet, steady_garbage
from advisor.simulate.recorder import Recorder
from advisor.simulate.regions import (
    watch_adapters,
    watch_layers,
    watch_optimizer,
    watch_saving,
    watch_tiles,
)
from advisor.simulate.settle import settled
from advisor.simulate.sizes import Symbols, candidate_shapes
from advisor.step.data import random_blocks
from advisor.step.session import Session, build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Shaped
from advisor.tape.events import Event, lives_are_whole
from advisor.tape.record import Tape, unroll
from advisor.tape.regime import Regime, regime_of
from advisor.tape.target import Target
from advisor.tape.versions import installed_version, packages_of

_STEPS = 2  # the first makes the optimizer's states, the second shows a step that has them


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is traced: a model of so many layers, at one shape."""

    cut: Cut
    config: TrainConfig  # with the traced shape
    symbols: Symbols
    tiled: bool
    lines: bool


def trace(  # noqa: PLR0913 - what is traced, and two ways to do it
    facts: Mapping[str, Any],
    config: TrainConfig,
    target: Target,
    regime: Regime,
    *,
    whole: bool = False,
    lines: bool = False,
) -> Tape:
    """The tape of the config's regime; `whole` traces every layer instead of repeating one.

    `lines`: a label's module is the line of code that asked, where it is not a weight's name.

    Raises: AdvisorError where the model can't be built or the method can't train it.
    """
    with quiet(), steady_garbage():
        try:
            return _traced(facts, config, target, regime, whole=whole, lines=lines)
        except AdvisorError:
            raise
        except Exception as error:
            raise AdvisorError(
                f"The training step of this {facts.get('model_type')!r} model can't be traced.",
                why=f"{type(error).__name__}: {_first_line(error)}",
                fix="check the values against the model's config.json; report it if they are right",
            ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _traced(  # noqa: PLR0913 - as `trace`
    facts: Mapping[str, Any],
    config: TrainConfig,
    target: Target,
    regime: Regime,
    *,
    whole: bool,
    lines: bool,
) -> Tape:
    model = cut(facts, config, whole=whole)
    for symbols in _shapes(facts, config, regime):
        shaped = replace(_shaped(config, symbols), checkpointed_layers=model.checkpointed_layers)
        plan = _Plan(model, shaped, symbols, regime.tiled, lines)
        recorded = _record(plan, target)
        if recorded is None:
            continue
        tape = _tape(*recorded, plan, regime.key(config, target))
        # Layers that only their code tells apart show here.
        if not whole and not (_repeats(tape) and _answers(tape, regime)):
            _check_alone(regime, model.layers)
            return _traced(facts, config, target, regime, whole=True, lines=lines)
        return tape.split_at(config.checkpointed_layers)
    raise AdvisorError("No shape tells batch and length from the model's own dimensions.")


def _repeats(tape: Tape) -> bool:
    try:
        return all(lives_are_whole(unroll(one_more, further_tiles=1)) for one_more in _one_more(tape))
    except AdvisorError:
        return False


def _answers(tape: Tape, regime: Regime) -> bool:
    """Whether the tape was cut as its regime says."""
    return not regime.split[0] or tape.traced_layers == sum(regime.split)


def _check_alone(regime: Regime, layers: int) -> None:
    """Refuse a whole trace under a name that promises other counts of checkpointed layers, too."""
    if 0 < sum(regime.split) < layers:
        raise AdvisorError(
            "This model's layers are not all alike, so one tape can't answer for every count of checkpointed layers.",
            why="its model_type is known for layers of one kind (advisor/tape/families.toml)",
            fix="leave out checkpointed_layers; report the model's config.json",
        )


def _one_more(tape: Tape) -> Iterator[Tape]:
    """The tape of the traced layers, and of one part more for each that can be repeated."""
    if not tape.copies:
        yield tape
    for part in tape.copies:
        further_kept = int(part == tape.kept_template)
        yield replace(tape, layers=tape.traced_layers + tape.period, further_kept=further_kept)


def _shapes(facts: Mapping[str, Any], config: TrainConfig, regime: Regime) -> Iterator[Symbols]:
    """Shapes of the regime whose numbers are not the model's, as far as its config.json tells."""
    if regime.exact[0]:
        yield Symbols(*regime.exact, exact=True)
        return
    known = [v for k, v in facts.items() if type(v) is int and k != "num_hidden_layers"]
    known += [config.lora_rank, 2 * config.lora_rank]
    liger = regime.liger_tiles
    for batch, length in candidate_shapes(regime.longest, single=regime.single):
        symbols = Symbols(batch, length)
        found = regime_of(_shaped(config, symbols), facts)
        # A trace of Liger's loss has tiles of its own.
        if symbols.confuse(known) or replace(found, tiles=regime.tiles if liger else found.tiles) != regime:
            continue
        told = symbols.with_liger(regime.tiles, liger) if liger else symbols
        if told and not told.confuse(known):
            yield told


def _shaped(config: TrainConfig, symbols: Symbols) -> TrainConfig:
    return replace(
        config,
        micro_batch=symbols.micro_batch,
        sequence_length=symbols.sequence_length,
        accumulation_steps=min(config.accumulation_steps, 2),
        evaluation_batch=None,
    )


def _record(plan: _Plan, target: Target) -> tuple[Recorder, Session, tuple[Event, ...]] | None:
    """The recorded step; None where the shape's numbers can't be told from the model's."""
    config = plan.config
    place = model_line if plan.lines else nowhere
    card = Recorder(target, plan.symbols, plan.cut.vocab, plan.cut.parts, place)
    rows = config.micro_batch * config.accumulation_steps * _STEPS
    data = random_blocks(rows=rows, sequence_length=config.sequence_length, vocab=16)
    with (
        tempfile.TemporaryDirectory() as directory,
        simulated_libraries(card),
        simulated_liger(card, tiled=plan.tiled) if config.loss is Loss.LIGER else nullcontext(),
        card,
        watch_adapters(card),
        watch_optimizer(card),
    ):
        session = build(
            Shaped(plan.cut.facts, _nothing(card)),
            config,
            RunOptions(output_dir=directory, max_steps=_STEPS),
            train_data=data,
            evaluation_data=data.select(range(config.micro_batch)),
            device=simulated_device(),
            observer=card,
        )
        if plan.symbols.confuse(card.dimensions):
            return None
        name_model(card, session.model)
        name_gradients(card, session.model)
        watch_layers(session.model, card)
        watch_saving(session.model, card)
        with watch_tiles(card) if plan.tiled and not plan.symbols.liger else nullcontext():
            session.train()
            name_optimizer_states(card, session)
            session.save(Path(directory) / "saved", base_name="traced")
            session.evaluate()
        card.ledger.close()
        return card, session, settled(card.ledger, TEMPLATE)


def _nothing(card: Recorder) -> Any:
    """Makes weights without contents, on the CPU, as a checkpoint's slices are."""

    def make(_name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        with card.fake_mode:
            return torch.empty(shape, dtype=dtype)

    return make


def _tape(
    card: Recorder, session: Session, events: tuple[Event, ...], plan: _Plan, key: dict[str, Any]
) -> Tape:
    ledger, model = card.ledger, plan.cut
    return Tape(
        key=key,
        versions={name: installed_version(name) for name in packages_of(plan.config)},
        layers=model.layers,
        traced_layers=model.parts.layers,
        period=model.parts.period,
        template=model.template,
        kept_template=model.kept_template,
        kept_layers=model.kept_layers,
        tiled=plan.tiled,
        parameters=count_weights(session.model, model.parts, model.further),
        trainable=count_learning(session.model, model.parts, model.further),
        sizes=tuple(ledger.sizes.items),
        kernels=tuple(ledger.kernels.items),
        labels=tuple(ledger.labels.items),
        phases=tuple(ledger.phases.items),
        events=events,
        managed=card.managed,
        liger_tiles=plan.symbols.liger.most_tiles if plan.symbols.liger else 0,
    )
