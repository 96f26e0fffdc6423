"""The second half of the demo: the plan of the small model, really run, on real text, on whatever is here."""

from pathlib import Path

from rich.console import Console

from advisor.demo import HELDOUT_FILE, MODEL_FOLDER, TRAIN_FILE
from advisor.plan.document import PlannedRun
from advisor.train.card import choose_device
from advisor.train.compare import show_run
from advisor.train.generate import Continuation, compare_text, load_adapted
from advisor.train.output import ADAPTER_FOLDER
from advisor.train.quiet import quiet_libraries
from advisor.train.report import RunReport, report_to_json
from advisor.train.request import RunRequest
from advisor.train.run import run_plan

_STEPS = 60  # about a minute on two cores
_LEARNING_RATE = 5e-3  # README.md beside this file: the better of the two that were tried
_WARMUP_STEPS = 10  # as there
_PROMPTS = ("computer (noun):", "bug (noun):")  # one draw each, not chosen among several
_SEED = 0


def run_demo(planned: PlannedRun, output: Path, console: Console, *, steps: int = _STEPS) -> RunReport:
    """Fine-tune the shipped model on the Jargon File, and show what it cost and what it changed.

    Results go to `console`, progress and notes to stderr. An earlier demo in `output` is replaced.
    """
    console.print(
        "\n[bold]The plan, run[/bold]: a Llama pretrained on WordNet reads the Jargon File, by QLoRA.",
        highlight=False,
    )
    report = run_plan(planned, demo_request(output, steps=steps))
    show_run(report_to_json(report), console)
    for text in write_lines(planned, output):
        _show_text(text, console)
    return report


def demo_request(output: Path, *, steps: int) -> RunRequest:
    """The demo's run: shipped model, shipped data, the schedule that its README reports."""
    return RunRequest(
        data=TRAIN_FILE,
        evaluation_data=HELDOUT_FILE,
        output=output,
        model=str(MODEL_FOLDER),
        max_steps=steps,
        learning_rate=_LEARNING_RATE,
        warmup_steps=_WARMUP_STEPS,
        seed=_SEED,
        force=True,
    )


def write_lines(planned: PlannedRun, output: Path) -> list[Continuation]:
    """Each prompt continued without the adapter and with it; the adapter is read back from the disk."""
    from transformers import AutoTokenizer  # not above: torch is to be imported after `advisor.step`

    with quiet_libraries():
        tokenizer = AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)
        model = load_adapted(str(MODEL_FOLDER), output / ADAPTER_FOLDER, planned.config, choose_device())
        return [compare_text(model, tokenizer, prompt, seed=_SEED) for prompt in _PROMPTS]


def _show_text(text: Continuation, console: Console) -> None:
    console.print(f"\n{text.prompt}", style="bold", markup=False, highlight=False)
    console.print(f"  before: {text.before}", markup=False, highlight=False)
    console.print(f"  after:  {text.after}", markup=False, highlight=False)
