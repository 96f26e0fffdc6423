"""Predicted against measured time, and the constants that fit best.

    python -m bench.clock            # print it
    python -m bench.clock reports    # write reports/clock.md and reports/clock.json

Tapes that are not at hand are traced first, which takes minutes.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from advisor.commands.estimating import open_estimator
from advisor.files import replace_text
from advisor.profiles.folders import profiles_folder
from advisor.profiles.store import read_rows
from bench.clock.report import document, markdown
from bench.clock.timed import published_rows, timed_rows


def main(output: Annotated[Path | None, typer.Argument(help="A folder.")] = None) -> None:
    """Score the clock and fit its constants anew; nothing is changed."""
    folder = profiles_folder()
    with open_estimator() as estimator:
        own = timed_rows(read_rows(folder), estimator)
        made = document(own, published_rows(folder / "published", estimator))
    if output is None:
        typer.echo(markdown(made), nl=False)
        return
    replace_text(output / "clock.json", json.dumps(made, indent=1) + "\n")
    replace_text(output / "clock.md", markdown(made))


if __name__ == "__main__":
    typer.run(main)
