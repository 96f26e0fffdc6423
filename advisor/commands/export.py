"""`advisor export`: a plan as a config of another tool, or as a script."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advisor.files import write_new
from advisor.interop.export import Target, export_plan
from advisor.plan.document import load_plan
from advisor.train.recipe import choose_recipe
from advisor.train.request import RunRequest

EPILOG = "advisor export plan.json --to trl -o train.yml  |  advisor export plan.json --to python"
err = Console(stderr=True, highlight=False)


def export_command(  # noqa: PLR0913 - each is an ingredient of the file
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="What `advisor plan -o` wrote.")],
    to: Annotated[Target, typer.Option(help="Whose file.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: standard output.")] = None,
    model: Annotated[str | None, typer.Option(help="A folder with weights or a hub name.")] = None,
    data: Annotated[
        str, typer.Option(help="JSON lines to train on, as the file names them.")
    ] = "train.jsonl",
    run_folder: Annotated[str, typer.Option(help="Where the tool puts its results.")] = "run",
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a plan as a config of trl, axolotl or LLaMA-Factory, or as a script; tell what it can't say."""
    planned = load_plan(plan_file)
    rate = choose_recipe(planned, RunRequest(data=Path(data), output=Path(run_folder)), 1).learning_rate
    made = export_plan(planned, to, model=model, data=data, output=run_folder, learning_rate=rate)
    if output is not None:
        write_new(output, made.text, force=force)
    told = [f"not as planned: {line}" for line in made.missing] + [f"note: {note}" for note in made.notes]
    for line in told:
        err.print(line, markup=False, soft_wrap=True)
    if as_json:
        missing, notes = list(made.missing), list(made.notes)
        document = {
            "schema": 1,
            "kind": "export",
            "to": to.value,
            "missing": missing,
            "notes": notes,
            "text": made.text,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    elif output is None:
        sys.stdout.write(made.text)
    else:
        err.print(
            f"saved {output}; run it: {made.run.replace('{file}', str(output))}", markup=False, soft_wrap=True
        )
