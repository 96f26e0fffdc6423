"""Compare the allocator's own histories with simulated runs, event by event.

    python -m bench.events            # print the Markdown
    python -m bench.events reports    # write reports/events.md and reports/events.json
    python -m bench.events --keep history.json.gz --name NAME --card h200 --row '{"model": "8B", "precision": "nf4"}'

The last takes a history, written by `python -m bench.history`, among those that ship: cut after its second step.
Steps whose tape is not at hand are traced first.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from advisor.files import replace_text
from advisor.tape.store import TapeStore
from bench.events.compare import compare
from bench.events.history import kept_folder, kept_histories
from bench.events.keep import Taken, keep
from bench.events.report import SCHEMA, entry, markdown
from bench.events.simulated import simulated_run


def main(  # noqa: PLR0913 - each is an option
    folder: Annotated[Path | None, typer.Argument(help="Where to write both reports.")] = None,
    *,
    taken: Annotated[Path | None, typer.Option("--keep", help="A history to take.")] = None,
    name: Annotated[str, typer.Option(help="The name that it gets.")] = "",
    card: Annotated[str, typer.Option(help="The card that it was recorded on.")] = "",
    row: Annotated[str, typer.Option(help="The config, as `advisor estimate` takes it.")] = "{}",
    steps: Annotated[int, typer.Option(help="Optimizer steps that are kept.")] = 2,
) -> None:
    """Every history that ships, beside the simulated run."""
    store = TapeStore()
    try:
        if taken is not None:
            keep(
                Taken(path=taken, card=card, row=json.loads(row), name=name, steps=steps),
                kept_folder(),
                store,
            )
            return
        document = {"schema": SCHEMA, "histories": _entries(store)}
    finally:
        store.close()
    if folder is None:
        typer.echo(markdown(document), nl=False)
        return
    replace_text(folder / "events.json", json.dumps(document, indent=1) + "\n")
    replace_text(folder / "events.md", markdown(document))


def _entries(store: TapeStore) -> list[dict[str, object]]:
    entries = []
    for kept in kept_histories(kept_folder()):
        run = simulated_run(kept.row, kept.card, kept.steps, store)
        entries.append(entry(kept, compare(kept.happenings, run), run))
    return entries


if __name__ == "__main__":
    typer.run(main)
