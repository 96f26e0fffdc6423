"""The command line: reads what the user typed, calls the parts, prints, and sets the exit code.

stdout carries the result, stderr progress and notes. Nothing here imports torch until a command needs it.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from advisor.catalog.gpus import all_gpus, find_gpu
from advisor.catalog.models import all_models, find_model
from advisor.commands import accuracy as accuracy_command
from advisor.commands import bench as bench_command
from advisor.commands import explain as explain_command
from advisor.commands import models as models_command
from advisor.commands import plan as plan_command
from advisor.commands import probe as probe_command
from advisor.commands import report as report_command
from advisor.commands.estimating import open_estimator
from advisor.commands.here import card_here
from advisor.commands.plan import print_json, run_command, show_plan
from advisor.commands.profiles import profiles_app
from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.estimate_rows import answer_rows
from advisor.plan.document import load_plan, save_plan
from advisor.plan.lanes import DEMO_OPTIONS, PlanOptions
from advisor.plan.planner import make_plan
from advisor.render import gpus_view, models_view
from advisor.train.request import RunRequest
from advisor.units import parse_size_bytes

app = typer.Typer(
    help=(
        "Plans LLM fine-tuning that fits: traces the real training step on a simulated GPU, recommends a "
        "configuration, and runs it.\n\n"
        "Exit codes: 0 done, 1 the answer is no, 2 bad usage, 3 the environment, 130 interrupted."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Listed(StrEnum):
    """What `advisor show` lists."""

    GPUS = "gpus"
    MODELS = "models"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


app.command(epilog=plan_command.EPILOG)(plan_command.plan)
app.command(epilog=models_command.EPILOG)(models_command.models)


@app.command(
    epilog='advisor estimate rows.jsonl --json  |  echo \'{"model": "8B", "gpu": "t4"}\' | advisor estimate - --json'
)
def estimate(
    file: Annotated[str, typer.Argument(help="One JSON object a line; - reads standard input.")],
    as_json: Annotated[  # noqa: ARG001
        bool, typer.Option("--json", help="Accepted for clarity; the answer is JSON.")
    ] = True,
) -> None:
    """Answer what each config in a file costs: one JSON object a line in, one a line out."""
    failed = False
    with open_estimator() as estimator:
        for answer in answer_rows(_lines(file), estimator):
            failed |= answer["error"] is not None
            print_json(answer, indent=None)
    if failed:
        raise typer.Exit(ExitCode.NO)


@app.command(
    epilog="advisor run plan.json --data train.jsonl --output run  |  advisor run plan.json --model ./llama --data d.jsonl --output run --epochs 2"
)
def run(  # noqa: PLR0913 - each is an ingredient of a run
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="What `advisor plan -o` wrote.")],
    data: Annotated[Path, typer.Option(help="JSON lines with text, prompt and completion, or messages.")],
    output: Annotated[Path, typer.Option(help="A folder for the weights and run.json.")],
    model: Annotated[
        str | None,
        typer.Option(help="A folder with weights, a hub name, or a catalog name (random weights)."),
    ] = None,
    eval_data: Annotated[Path | None, typer.Option(help="Default: the last 5 % of the examples.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1)] = None,
    epochs: Annotated[float, typer.Option(min=0.001)] = 1.0,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Default: the method's.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(min=0)] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    save_steps: Annotated[int, typer.Option(min=0, help="A checkpoint each so many steps; 0: none.")] = 0,
    cap: Annotated[
        str | None, typer.Option(help="Give the allocator no more than this, such as 14GiB.")
    ] = None,
    emulate_card: Annotated[bool, typer.Option(help="Give it only what the plan's card would.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in the output.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an earlier run in the output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Execute a plan: train, save, and put what was measured beside what was predicted."""
    planned = load_plan(plan_file)
    if cap is not None and emulate_card:
        raise AdvisorError("--cap and --emulate-card both limit the memory.", fix="give one of them")
    cap_bytes = planned.card.usable_bytes if emulate_card else parse_size_bytes(cap) if cap else None
    from advisor.train.compare import show_run
    from advisor.train.report import report_to_json
    from advisor.train.run import run_plan

    report = run_plan(
        planned,
        RunRequest(
            data=data,
            output=output,
            evaluation_data=eval_data,
            model=model,
            max_steps=max_steps,
            epochs=epochs,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            seed=seed,
            save_steps=save_steps,
            cap_bytes=cap_bytes,
            resume=resume,
            force=force,
        ),
        err,
    )
    document = report_to_json(report)
    if as_json:
        print_json(document)
    else:
        show_run(document, out)


app.command("explain", epilog=explain_command.EPILOG)(explain_command.explain_command)
app.command(epilog=bench_command.EPILOG)(bench_command.bench)
app.command(epilog=probe_command.EPILOG)(probe_command.probe)
app.command(epilog=report_command.EPILOG)(report_command.report)
app.command(epilog=accuracy_command.EPILOG)(accuracy_command.accuracy)
app.add_typer(profiles_app, name="profiles")


@app.command(epilog="advisor demo  |  advisor demo --output my-demo")
def demo(
    output: Annotated[Path, typer.Option(help="A folder for the adapter and run.json.")] = Path("demo-run"),
) -> None:
    """Plan an 8B model for a 16 GB card, then plan and run a real QLoRA fine-tune of a small model, here."""
    with open_estimator() as estimator:
        card, assumed_card = find_gpu("16GB")
        big, assumed_big = find_model("8B")
        assumed = (*assumed_card, *assumed_big)
        command = run_command(["plan", "--gpu", "16GB", "--model", "8B"], big.hub_name, None)
        show_plan(make_plan(big, card, PlanOptions(), estimator, assumed=assumed, command=command))
        # Without a card the CPU trains, which computes bf16: so for a card of that size that does, too.
        here = card_here() or find_gpu("rtx-4060-ti-16gb")[0]
        small, assumed_small = find_model(str(MODEL_FOLDER))
        made = make_plan(small, here, DEMO_OPTIONS, estimator, assumed=tuple(assumed_small))
    plan_file = output / "plan.json"
    save_plan(made, plan_file, force=True)
    from advisor.demo.show import run_demo

    run_demo(load_plan(plan_file), output, out)


@app.command(epilog="advisor show gpus  |  advisor show models --json")
def show(what: Listed, as_json: AsJson = False) -> None:
    """List the cards or the models of the catalog."""
    from dataclasses import asdict

    items: tuple[Any, ...] = all_gpus() if what is Listed.GPUS else all_models()
    if as_json:
        print_json({"schema": 1, what.value: [asdict(item) for item in items]})
    else:
        out.print(gpus_view(items) if what is Listed.GPUS else models_view(items))


def _lines(file: str) -> list[str]:
    if file == "-":
        return sys.stdin.read().splitlines()
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AdvisorError(
            f"Can't read {file}.", why=str(error), fix="give a file of JSON lines, or -"
        ) from error


def main() -> None:
    """The console script: errors that a user can act on become three lines and an exit code."""
    try:
        app()
    except AdvisorError as error:
        err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.exit(ExitCode.DONE)  # the reader, such as `head`, has seen enough


if __name__ == "__main__":
    main()
