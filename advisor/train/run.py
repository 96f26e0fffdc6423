"""Running a plan: prepare, rehearse, train, fall back where the card is too small, save, and say what was measured."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from advisor.files import replace_text
from advisor.plan.document import PlannedRun
from advisor.train import checkpoints
from advisor.train import output as folders
from advisor.train.attempt import Finished, RanOut, attempt
from advisor.train.card import release_cache
from advisor.train.checkpoints import Progress
from advisor.train.environment import environment
from advisor.train.failures import explained, out_of_memory
from advisor.train.fallback import Change, gentler, training_key
from advisor.train.learn import learn
from advisor.train.prepare import Ready, prepare
from advisor.train.progress import Display
from advisor.train.quiet import quiet_libraries
from advisor.train.rehearse import DisturbedError
from advisor.train.report import DataFacts, Learned, RunReport, report_to_json
from advisor.train.request import RunRequest


def run_plan(planned: PlannedRun, request: RunRequest, console: Console | None = None) -> RunReport:
    """Train the plan on the user's data; leaves the weights and `run.json` in `request.output`.

    Where memory runs out it goes on with less at a time and the same result, and says so. Where an earlier
    process of the same run was killed it goes on from that one's last checkpoint. `console` shows the progress
    and the notes, on stderr unless given.
    Raises: AdvisorError where the plan can't run here, the data can't be read, the card or the disk is
    full, or the user interrupts; then nothing half-written stays.
    """
    console = console or Console(stderr=True, highlight=False)
    output = request.output
    folders.refuse_overwrite(output, force=request.force, resume=request.resume)
    with quiet_libraries(), folders.alone(output), explained(planned, output, request.cap_bytes):
        run = _Run(prepare(planned, request), console)
        folders.clear(output, force=request.force)
        report = run.report(run.finish())
        folders.drop_others(output, report.saved)
        text = json.dumps(report_to_json(report), indent=2)
        replace_text(output / folders.RUN_FILE, text + "\n")
        if not request.save_steps:
            checkpoints.drop_all(output)
    return report


@dataclass(slots=True)
class _Run:
    """A run, over all its tries."""

    ready: Ready
    console: Console
    notes: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    resumed_at_step: int = 0

    def __post_init__(self) -> None:
        for note in self.ready.notes:
            self.tell(note)

    def tell(self, note: str) -> None:
        """Show a note now, and keep it for the report."""
        self.notes.append(note)
        loud = note.startswith("WARNING")
        text = note if loud else f"note: {note}"
        self.console.print(text, style="bold red" if loud else "", markup=False, soft_wrap=True)

    def finish(self) -> Finished:
        """Try until a config trains to the end.

        Raises: AdvisorError where none that trains the same does.
        """
        checkpoint, progress = self._begin()
        self.resumed_at_step = checkpoints.step_of(checkpoint)
        rehearse = self.ready.request.rehearse
        display = Display(self.console, self.ready.data.steps)
        with display.shown():
            while True:
                try:
                    ended = attempt(self.ready, progress, checkpoint, display, self.tell, rehearse=rehearse)
                except DisturbedError:
                    self.tell(
                        "the rehearsal could not be undone with this optimizer: loaded anew, without one"
                    )
                    rehearse = False
                    continue
                finally:
                    release_cache(self.ready.device)
                if isinstance(ended, Finished):
                    return ended
                checkpoint, progress = self._fall_back(ended, progress)

    def _begin(self) -> tuple[Path | None, Progress]:
        """The checkpoint to go on from, and what was done by then."""
        output, key = self.ready.request.output, _run_key(self.ready)
        checkpoint, progress = self._last()
        if checkpoint is None:  # nothing would be lost
            checkpoints.drop_all(output)
            checkpoints.remember_run(output, key)
        checkpoints.check_same_run(output, key)
        return checkpoint, progress

    def _last(self) -> tuple[Path | None, Progress]:
        checkpoint, torn = checkpoints.whole_checkpoint(self.ready.request.output)
        for note in torn:
            self.tell(f"WARNING: {note}")
        if checkpoint is None:
            return None, Progress(planned=self.ready.planned.config, config=self.ready.planned.config)
        progress = checkpoints.read_progress(checkpoint)
        if progress.planned != self.ready.planned.config:  # another plan of the same training decides anew
            progress = replace(progress, planned=self.ready.planned.config, config=self.ready.planned.config)
        self.tell(f"goes on after step {checkpoints.step_of(checkpoint)}, from {checkpoint.name}")
        return checkpoint, progress

    def _fall_back(self, ran_out: RanOut, progress: Progress) -> tuple[Path | None, Progress]:
        """What to go on with after memory ran out.

        Raises: AdvisorError where nothing is left to try.
        """
        planned = self.ready.planned
        tried = [planned.config, *(change.after for change in self.changes)]
        config = gentler(planned, progress.config, tried, on_card=self.ready.device.type == "cuda")
        if config is None:
            raise out_of_memory(ran_out.why, planned, self.ready.request.cap_bytes, self.changes)
        checkpoint, done = self._last()
        change = Change(
            during=ran_out.during,
            at_step=ran_out.at_step,
            from_step=checkpoints.step_of(checkpoint),
            why=ran_out.why,
            before=progress.config,
            after=config,
        )
        self.changes.append(change)
        self.tell(f"WARNING: {change.words}")
        return checkpoint, replace(done, config=config, changes=(*progress.changes, change.to_json()))

    def report(self, ended: Finished) -> RunReport:
        """What there is to say."""
        ready, done = self.ready, ended.progress
        learned = Learned(
            steps=ended.stopped_at_step,
            planned_steps=ready.data.steps,
            resumed_at_step=self.resumed_at_step,
            learning_rate=ready.recipe.learning_rate,
            learning_rate_reason=ready.recipe.reason.text,
            warmup_steps=ready.recipe.warmup_steps,
            seed=ready.request.seed,
            trainable_parameters=ended.trainable_parameters,
            losses=done.losses,
            evaluation_before=done.evaluation_before,
            evaluation_after=ended.evaluation_after,
            evaluations=done.evaluations,
            best_step=ended.best_step,
            seconds=sum(done.step_seconds),
        )
        facts = environment(ready.device)
        learn(ready, ended, facts, self.tell, whole=not (self.resumed_at_step or done.changes))
        return RunReport(
            planned=ready.planned,
            config=done.config,
            changes=done.changes,
            rehearsal=ended.rehearsal,
            random_weights=ready.model.random,
            cap_bytes=ready.request.cap_bytes,
            measured=ended.figures,
            learned=learned,
            data=_data_facts(ready),
            environment=facts,
            saved=ended.saved,
            notes=tuple(self.notes),
        )


def _data_facts(ready: Ready) -> DataFacts:
    data = ready.data
    return DataFacts(
        format=data.format.value,
        examples=data.examples,
        tokens=data.tokens,
        blocks=data.blocks,
        passes=data.passes,
        held_out_blocks=0 if data.held_out is None else len(data.held_out),
    )


def _run_key(ready: Ready) -> dict[str, Any]:
    """What makes a run this run: all that decides what is learned, and nothing of how much at a time."""
    request, recipe = ready.request, ready.recipe
    return {
        "config": training_key(ready.planned.config),
        "weights": hashlib.sha256(ready.model.name.encode()).hexdigest()[:16],
        "data": ready.data.digest,
        "steps": ready.data.steps,
        "learning_rate": recipe.learning_rate,
        "warmup_steps": recipe.warmup_steps,
        "seed": request.seed,
        "evaluation_steps": request.evaluate_steps,
        "patience": request.patience,
    }
