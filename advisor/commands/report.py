"""`advisor report`: what was measured on each card, as Markdown and as one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from advisor.catalog.gpus import find_gpu
from advisor.commands.estimating import open_estimator
from advisor.errors import AdvisorError, unknown_name
from advisor.profiles.record import Measurement, Outcome

if TYPE_CHECKING:
    from bench.accuracy.compared import Compared

EPILOG = "advisor report  |  advisor report --card h200 --output my-reports"

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def report(
    card: Annotated[str | None, typer.Option(help="One card alone; default: every card with rows.")] = None,
    output: Annotated[Path, typer.Option(help="The folder for the reports.")] = Path("reports"),
    profiles: Annotated[Path | None, typer.Option(help="Where the rows are; default: your own.")] = None,
) -> None:
    """Write what was measured on each card, beside what is predicted: Markdown, and one HTML page."""
    from advisor.profiles.environments import read_environment
    from advisor.profiles.folders import user_profiles_folder
    from advisor.profiles.probe import read_probes
    from advisor.profiles.store import read_rows
    from bench.report.build import texts
    from bench.report.reading import by_card, card_rows
    from bench.report.write import write_report

    folder = profiles or user_profiles_folder()
    cards = by_card(read_rows(folder))
    for slug in _wanted(card, list(cards), folder):
        rows = cards[slug]
        environments = {row.environment: read_environment(folder, slug, row.environment) for row in rows}
        made = card_rows(slug, rows, _compared(slug, rows), environments, read_probes(folder, card=slug))
        for path in write_report(texts(made), output / slug):
            out.print(str(path), markup=False, soft_wrap=True)


def _compared(slug: str, rows: Sequence[Measurement]) -> "tuple[Compared, ...]":
    """Predictions beside the rows that ran; what takes long and what can't be predicted is said on stderr."""
    from bench.accuracy.score import compare_rows

    ran = [row for row in rows if row.outcome is Outcome.OK and row.cap_bytes is None]
    err.print(
        f"{slug}: {len(rows)} rows, predicting the {len(ran)} that ran on the whole card …", style="dim"
    )
    with open_estimator() as estimator:
        found = compare_rows(ran, estimator)
    for out_of_it in found.left_out:
        err.print(f"not predicted: {out_of_it.reason}", markup=False)
    return found.compared


def _wanted(card: str | None, known: list[str], folder: Path) -> list[str]:
    """The cards to report.

    Raises: AdvisorError where there are no rows, or none of that card.
    """
    if not known:
        raise AdvisorError(
            f"There are no measured rows in {folder}.",
            fix="`advisor bench` measures the card that is present; --profiles names another folder",
        )
    if card is None:
        return known
    slug = find_gpu(card)[0].slug
    if slug not in known:
        raise unknown_name(
            "card with rows", slug, known, fix="`advisor bench` measures the card that is present"
        )
    return [slug]
