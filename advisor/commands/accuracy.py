"""`advisor accuracy`: predicted beside measured, for every known row."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from advisor.commands.estimating import open_estimator
from advisor.errors import AdvisorError, ExitCode
from advisor.files import write_new
from advisor.profiles.store import known_rows

if TYPE_CHECKING:
    from bench.accuracy.compared import Accuracy

err = Console(stderr=True, highlight=False)


def accuracy(
    *,
    published: Annotated[
        bool, typer.Option("--published", help="Score also rows that others published.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to a file.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Put predicted beside measured for every known row, yours too; exit code 1 where a claim is broken."""
    from bench.accuracy.claims import claims_kept
    from bench.accuracy.document import dumps, to_json
    from bench.accuracy.markdown import markdown

    if output is not None and output.exists() and not force:
        raise AdvisorError(f"{output} exists.", fix="give another name, or --force to replace it")
    found = _found(published=published)
    text = dumps(to_json(found)) if as_json else markdown(found)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_new(output, text, force=force)
    broken = [kept for kept in claims_kept(found) if kept.broken]
    for kept in broken:
        err.print(f"broken: {kept.text}", markup=False)
    if broken:
        raise typer.Exit(ExitCode.NO)


def _found(*, published: bool) -> "Accuracy":
    from bench.accuracy.build import published_folder
    from bench.accuracy.compared import joined
    from bench.accuracy.others import compare_published
    from bench.accuracy.score import compare_rows

    rows = list(known_rows())
    if not rows and not published:
        raise AdvisorError(
            "There are no measured rows to compare with.",
            fix="measure some with `advisor bench smoke`, or ask for --published",
            exit_code=ExitCode.ENVIRONMENT,
        )
    with open_estimator() as estimator:
        parts = [compare_rows(rows, estimator)]
        if published:
            parts.append(compare_published(published_folder(), estimator))
    return joined(*parts)


EPILOG = "advisor accuracy  |  advisor accuracy --published --json --output accuracy.json"
