"""One try to train with one config: it ends, or the card runs out and what was done is kept."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import transformers

from advisor.errors import AdvisorError
from advisor.records import Method
from advisor.step.adapt import count_trainable
from advisor.step.observe import Phase
from advisor.step.session import Session, build
from advisor.step.trainer import RunOptions
from advisor.train import checkpoints
from advisor.train import output as folders
from advisor.train.card import release_cache
from advisor.train.checkpoints import Progress
from advisor.train.failures import asked_for, forget_frames, is_full_disk, is_out_of_memory
from advisor.train.keeper import Keeper, best_step, free_gradients, is_over
from advisor.train.meter import Meter, measured_figures, training_figures
from advisor.train.prepare import Ready
from advisor.train.progress import Display, LossLog
from advisor.train.rehearse import Rehearsal, compared, longest_blocks

# A checkpoint holds the weights and two states of Adam.
_CHECKPOINT_COPIES = 3

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RanOut:
    """The card had no more to give."""

    during: str  # rehearsal, or training
    at_step: int
    why: str
    figures: dict[str, Any]  # what was measured until then


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The training ended and the weights are saved."""

    figures: dict[str, Any]  # of all of it
    training_figures: dict[str, Any]  # of load to the last step: what a row of the profiles tells
    rehearsal: dict[str, Any] | None
    progress: Progress
    evaluation_after: float | None
    stopped_at_step: int
    best_step: int | None  # None: the last step's weights were kept
    trainable_parameters: int
    saved: str | None


def attempt(  # noqa: PLR0913 - what a try begins with
    ready: Ready, progress: Progress, checkpoint: Path | None, display: Display, tell: Tell, *, rehearse: bool
) -> Finished | RanOut:
    """Train from the checkpoint, or from the start, to the end.

    Raises: AdvisorError, and what the libraries raise, but for memory that ran out after loading;
    DisturbedError where the rehearsal could not be undone.
    """
    meter = Meter(ready.device)
    log = LossLog(meter, tokens_per_step=progress.config.tokens_per_step, display=display)
    log.losses.extend(progress.losses)
    transformers.set_seed(ready.request.seed)
    keeper = _keeper(ready, progress, log)
    session = _session(ready, progress, meter, (log, keeper))
    keeper.session = session
    keeper.by_clock = _by_clock(ready, session, tell)
    rehearsal = _rehearsal(ready, progress, session, tell) if rehearse else None
    if checkpoint is None:
        before = _evaluated_first(ready, session, meter, tell)
        keeper.progress = replace(progress, evaluation_before=before)
    ran_out = _trained(ready, session, keeper, rehearsal, checkpoint, tell)
    return ran_out or _finished(ready, session, keeper, rehearsal, tell)


def _keeper(ready: Ready, progress: Progress, log: LossLog) -> Keeper:
    return Keeper(
        ready.request.output,
        progress,
        log,
        copies=_copies(ready),
        by_clock=False,
        patience=ready.request.patience,
        base_name=ready.model.name,
    )


def _copies(ready: Ready) -> int:
    """An older checkpoint stays beside the newest where it is small: one that a disk spoils costs less."""
    return 2 if ready.planned.config.method is Method.LORA else 1


def _session(ready: Ready, progress: Progress, meter: Meter, callbacks: tuple[Any, ...]) -> Session:
    request = ready.request
    options = RunOptions(
        output_dir=str(checkpoints.saving_folder(request.output)),
        max_steps=ready.data.steps,
        learning_rate=ready.recipe.learning_rate,
        warmup_steps=ready.recipe.warmup_steps,
        seed=request.seed,
        evaluate_steps=request.evaluate_steps if ready.data.held_out is not None else 0,
        save_steps=request.save_steps or 0,
        logging_steps=1,
    )
    return build(
        ready.model.source,
        progress.config,
        options,
        train_data=ready.data.training,
        evaluation_data=ready.data.held_out,
        tokenizer=ready.model.tokenizer,
        device=ready.device,
        observer=meter,
        callbacks=callbacks,
    )


def _by_clock(ready: Ready, session: Session, tell: Tell) -> bool:
    """Whether to write a checkpoint now and then: nobody said how often, and the disk has room.

    Raises: AdvisorError where it has none for what was asked for.
    """
    output, asked = ready.request.output, ready.request.save_steps
    folders.check_space(output, _bytes_to_save(ready, session, checkpoints_too=bool(asked)))
    if asked is not None or ready.model.random:
        return False
    try:
        folders.check_space(output, _bytes_to_save(ready, session, checkpoints_too=True))
    except AdvisorError as error:
        tell(f"no checkpoints on the way: {error.why}")
        return False
    return True


def _bytes_to_save(ready: Ready, session: Session, *, checkpoints_too: bool) -> int:
    """What the run writes at most at one time: the weights, and checkpoints where there are any."""
    if ready.model.random:
        return 0
    adapter_alone = ready.planned.config.method is Method.LORA
    kept = [p for p in session.model.parameters() if p.requires_grad or not adapter_alone]
    size = sum(int(p.numel()) * int(p.element_size()) for p in kept)
    at_once = _CHECKPOINT_COPIES * (_copies(ready) + 1)  # the newest is whole before an older one goes
    return size * (1 + at_once) if checkpoints_too else size


def _rehearsal(ready: Ready, progress: Progress, session: Session, tell: Tell) -> Rehearsal:
    config = progress.config
    blocks = longest_blocks(ready.data.training, config.micro_batch, config.accumulation_steps)
    held_out = ready.data.held_out if ready.request.evaluate_steps else None
    evaluated = None if held_out is None else longest_blocks(held_out, config.evaluated.micro_batch, 1)
    rehearsal = Rehearsal(blocks, evaluated, ready.device)

    def before_training(trainer: Any) -> None:
        rehearsal(trainer)
        assert rehearsal.figures is not None
        tell(compared(rehearsal.figures, ready.planned, config))

    trainer: Any = session.trainer
    trainer.before_training = before_training
    return rehearsal


def _evaluated_first(ready: Ready, session: Session, meter: Meter, tell: Tell) -> float | None:
    """The held-out loss before training, and the allocator as if nobody had asked for it."""
    loss = _evaluated(ready, session, tell)
    meter.finish()
    release_cache(ready.device)
    meter.mark(Phase.PREPARE)
    return loss


def _evaluated(ready: Ready, session: Session, tell: Tell) -> float | None:
    """The held-out loss; one block at a time where more don't fit, and None where not even that does."""
    trainer: Any = session.trainer
    for size in dict.fromkeys((trainer.args.per_device_eval_batch_size, 1)):
        trainer.args.per_device_eval_batch_size = size
        try:
            return session.evaluate()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = asked_for(error)
            forget_frames(error)
        release_cache(ready.device)
        tell(f"WARNING: the evaluation ran out of memory with {size} blocks at a time ({why})")
    return None


def _trained(  # noqa: PLR0913 - a try's parts
    ready: Ready,
    session: Session,
    keeper: Keeper,
    rehearsal: Rehearsal | None,
    checkpoint: Path | None,
    tell: Tell,
) -> RanOut | None:
    trainer: Any = session.trainer
    if checkpoint is not None and is_over(keeper.evaluations, keeper.patience):
        trainer._load_from_checkpoint(str(checkpoint))  # noqa: SLF001 - it was stopped just before it was killed
        return None
    try:
        session.train(None if checkpoint is None else str(checkpoint))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        why = asked_for(error)
        forget_frames(error)
    else:
        return None
    # Outside of the handler: until here the error kept alive what filled the card.
    free_gradients(session.model)
    release_cache(ready.device)
    rehearsing = rehearsal is not None and not rehearsal.done
    ran_out = RanOut(
        during="rehearsal" if rehearsing else "training",
        at_step=int(trainer.state.global_step) + 1,
        why=why,
        figures=measured_figures(keeper.log.meter),
    )
    try:
        keeper.rescue(session)
    except Exception as error:
        if not (is_full_disk(error) or is_out_of_memory(error)):
            raise
        tell("WARNING: the last step could not be kept, for the disk or the card is full")
    return ran_out


def _finished(
    ready: Ready, session: Session, keeper: Keeper, rehearsal: Rehearsal | None, tell: Tell
) -> Finished:
    trainer: Any = session.trainer
    meter = keeper.log.meter
    meter.finish()
    training = training_figures(meter)
    last = int(trainer.state.global_step) or len(keeper.log.losses)
    known = dict(keeper.evaluations)
    after = known[last] if last in known else _evaluated(ready, session, tell)
    meter.finish()
    best = best_step(keeper.evaluations) if ready.request.patience and keeper.evaluations else None
    if best is not None and not checkpoints.best_folder(ready.request.output, best).is_dir():
        best = None
    if best is not None:
        after = dict(keeper.evaluations)[best]
    saved = _save(ready, session, best)
    meter.finish()
    return Finished(
        figures=measured_figures(meter),
        training_figures=training,
        rehearsal=None if rehearsal is None else rehearsal.figures,
        progress=keeper.so_far(),
        evaluation_after=after,
        stopped_at_step=last,
        best_step=best,
        trainable_parameters=count_trainable(session.model),
        saved=saved,
    )


def _save(ready: Ready, session: Session, best: int | None) -> str | None:
    """Write the weights: those of the best evaluation, else the last ones."""
    if ready.model.random:
        return None
    lora = ready.planned.config.method is Method.LORA
    name = folders.ADAPTER_FOLDER if lora else folders.MODEL_FOLDER
    with folders.new_folder(ready.request.output / name) as folder:
        if best is None:
            session.save(folder, base_name=ready.model.name)
        else:
            shutil.copytree(checkpoints.best_folder(ready.request.output, best), folder, dirs_exist_ok=True)
        ready.model.tokenizer.save_pretrained(str(folder))
        checkpoints.write_manifest(folder, {})
    return name
