"""Running a plan: prepare, evaluate, train, evaluate, save, and put the measured beside the predicted."""

import json
from pathlib import Path
from typing import Any

import transformers
from rich.console import Console

from advisor.files import replace_text
from advisor.plan.document import PlannedRun
from advisor.records import Method
from advisor.step.adapt import count_trainable
from advisor.step.observe import Phase
from advisor.step.session import Session, build
from advisor.step.trainer import RunOptions
from advisor.train import output as folders
from advisor.train.card import release_cache
from advisor.train.environment import environment
from advisor.train.failures import explained
from advisor.train.meter import Meter, measured_figures
from advisor.train.prepare import Ready, prepare
from advisor.train.progress import Display, LossLog
from advisor.train.quiet import quiet_libraries
from advisor.train.report import DataFacts, Learned, RunReport, report_to_json
from advisor.train.request import RunRequest

# A checkpoint holds the weights and two states of Adam, and the old one goes when the new one is whole.
_CHECKPOINT_COPIES = 6


def run_plan(planned: PlannedRun, request: RunRequest, console: Console | None = None) -> RunReport:
    """Train the plan on the user's data; leaves the weights and `run.json` in `request.output`.

    `console` shows the progress and the notes, on stderr unless given.
    Raises: AdvisorError where the plan can't run here, the data can't be read, the card or the disk is
    full, or the user interrupts; then nothing half-written stays.
    """
    console = console or Console(stderr=True, highlight=False)
    folders.refuse_overwrite(request.output, force=request.force, resume=request.resume)
    with quiet_libraries(), explained(planned, request.output, request.cap_bytes):
        ready = prepare(planned, request)
        _show_notes(ready, console)
        folders.make(request.output, force=request.force)
        report = _trained(ready, console)
        folders.drop_others(request.output, report.saved)
        text = json.dumps(report_to_json(report), indent=2)
        replace_text(request.output / folders.RUN_FILE, text + "\n")
    return report


def _show_notes(ready: Ready, console: Console) -> None:
    for note in ready.notes:
        loud = note.startswith("WARNING")
        text = note if loud else f"note: {note}"
        console.print(text, style="bold red" if loud else "", markup=False, soft_wrap=True)


def _trained(ready: Ready, console: Console) -> RunReport:
    meter = Meter(ready.device)
    display = Display(console, ready.data.steps)
    log = LossLog(meter, tokens_per_step=ready.planned.config.tokens_per_step, display=display)
    transformers.set_seed(ready.request.seed)
    session = _session(ready, meter, (log,))
    folders.check_space(ready.request.output, _bytes_to_save(ready, session))
    resume_from = _resume_from(ready)
    before = _evaluated_first(ready, session, meter)
    with display.shown():
        session.train(None if resume_from is None else str(resume_from))
    after = session.evaluate()
    saved = _save(ready, session)
    meter.finish()
    learned = Learned(
        steps=ready.data.steps,
        resumed_at_step=folders.step_of(resume_from),
        learning_rate=ready.recipe.learning_rate,
        learning_rate_reason=ready.recipe.reason.text,
        warmup_steps=ready.recipe.warmup_steps,
        seed=ready.request.seed,
        trainable_parameters=count_trainable(session.model),
        losses=tuple(log.losses),
        evaluation_before=before,
        evaluation_after=after,
    )
    return _report(ready, meter, learned, saved)


def _session(ready: Ready, meter: Meter, callbacks: tuple[Any, ...]) -> Session:
    options = RunOptions(
        output_dir=str(folders.checkpoint_folder(ready.request.output)),
        max_steps=ready.data.steps,
        learning_rate=ready.recipe.learning_rate,
        warmup_steps=ready.recipe.warmup_steps,
        seed=ready.request.seed,
        save_steps=ready.request.save_steps,
        logging_steps=1,
    )
    return build(
        ready.model.source,
        ready.planned.config,
        options,
        train_data=ready.data.training,
        evaluation_data=ready.data.held_out,
        tokenizer=ready.model.tokenizer,
        device=ready.device,
        observer=meter,
        callbacks=callbacks,
    )


def _evaluated_first(ready: Ready, session: Session, meter: Meter) -> float | None:
    """The held-out loss before training, and the allocator as if nobody had asked for it."""
    loss = session.evaluate()
    meter.finish()
    release_cache(ready.device)
    meter.mark(Phase.PREPARE)
    return loss


def _bytes_to_save(ready: Ready, session: Session) -> int:
    if ready.model.random:
        return 0
    adapter_alone = ready.planned.config.method is Method.LORA
    kept = [p for p in session.model.parameters() if p.requires_grad or not adapter_alone]
    size = sum(int(p.numel()) * int(p.element_size()) for p in kept)
    return size * (1 + _CHECKPOINT_COPIES) if ready.request.save_steps else size


def _resume_from(ready: Ready) -> Path | None:
    output, data = ready.request.output, ready.data
    key = {
        "config": ready.planned.config.to_json(),
        "steps": data.steps,
        "blocks": data.blocks,
        "tokens": data.tokens,
        "seed": ready.request.seed,
    }
    if ready.request.resume:
        folders.check_same_run(output, key)
        return folders.last_checkpoint(output)
    if ready.request.save_steps:
        folders.remember_run(output, key)
    return None


def _save(ready: Ready, session: Session) -> str | None:
    if ready.model.random:
        return None
    lora = ready.planned.config.method is Method.LORA
    name = folders.ADAPTER_FOLDER if lora else folders.MODEL_FOLDER
    with folders.new_folder(ready.request.output / name) as folder:
        session.save(folder, base_name=ready.model.name)
        ready.model.tokenizer.save_pretrained(str(folder))
    return name


def _report(ready: Ready, meter: Meter, learned: Learned, saved: str | None) -> RunReport:
    data = ready.data
    return RunReport(
        planned=ready.planned,
        random_weights=ready.model.random,
        cap_bytes=ready.request.cap_bytes,
        measured=measured_figures(meter),
        learned=learned,
        data=DataFacts(
            format=data.format.value,
            examples=data.examples,
            tokens=data.tokens,
            blocks=data.blocks,
            passes=data.passes,
            held_out_blocks=0 if data.held_out is None else len(data.held_out),
        ),
        environment=environment(ready.device),
        saved=saved,
        notes=ready.notes,
    )
