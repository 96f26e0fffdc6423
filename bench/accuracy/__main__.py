"""Generate the accuracy report.

    python -m bench.accuracy                 # print the Markdown
    python -m bench.accuracy --json          # print the JSON
    python -m bench.accuracy reports         # write reports/accuracy.md and reports/accuracy.json

Steps whose tape is not at hand are traced first, which takes some minutes for all rows.
"""

from pathlib import Path
from typing import Annotated

import typer

from advisor.estimate import Estimator
from advisor.files import replace_text
from advisor.tape.store import TapeStore
from bench.accuracy.build import accuracy_of_all
from bench.accuracy.document import dumps, to_json
from bench.accuracy.markdown import markdown


def main(
    folder: Annotated[Path | None, typer.Argument(help="Where to write both reports.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON.")] = False,
) -> None:
    """Score every row that ships, and those published by others."""
    store = TapeStore()
    try:
        found = accuracy_of_all(Estimator(store))
    finally:
        store.close()
    if folder is None:
        typer.echo(dumps(to_json(found)) if as_json else markdown(found), nl=False)
        return
    replace_text(folder / "accuracy.md", markdown(found))
    replace_text(folder / "accuracy.json", dumps(to_json(found)))


if __name__ == "__main__":
    typer.run(main)
