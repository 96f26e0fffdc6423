"""`advisor verify`: predicted beside measured once more, from a run's files."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advisor.errors import ExitCode
from advisor.train.compare import show_run
from advisor.train.verify import Verification, verification_to_json, verify

EPILOG = "advisor verify run  |  advisor verify run --json"
out = Console(highlight=False)


def verify_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `advisor run --output` named.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare a finished run with its plan again, and its weights with what was written; 1 where one is off."""
    made = verify(folder)
    if as_json:
        sys.stdout.write(json.dumps(verification_to_json(made), indent=2) + "\n")
    else:
        show_run(made.document, out)
        for line in _verdict(made):
            out.print(line, markup=False, soft_wrap=True)
    if not made.holds:
        raise typer.Exit(ExitCode.NO)


def _verdict(made: Verification) -> list[str]:
    told = [row for row in made.figures if row.in_range is not None]
    lines = [f"Outside of the plan's range: {row.label.strip()}." for row in made.outside]
    if told and not made.outside:
        lines.append(f"All {len(told)} figures that have a range are in it.")
    if not told:
        lines.append("No figure was both predicted with a range and measured.")
    if made.torn is not None:
        lines.append(f"The weights in {made.weights}/ are not what the run wrote: {made.torn}.")
    elif made.weights is not None:
        lines.append(f"The weights in {made.weights}/ are what the run wrote, to the bit.")
    return lines
