"""`advisor profiles`: what was measured: list it, share it, take in others' rows, withdraw a wrong one."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.profiles.folders import known_folders, user_profiles_folder
from advisor.profiles.record import Measurement, Outcome
from advisor.profiles.share import export_rows, merge_file
from advisor.profiles.store import known_rows, withdraw_row

profiles_app = typer.Typer(
    epilog="advisor profiles list  |  advisor profiles export -o mine.jsonl  |  advisor profiles merge theirs.jsonl",
    help="List measured rows, share them, take in others', withdraw a wrong one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@profiles_app.command(
    epilog="advisor profiles merge theirs.jsonl  |  advisor profiles merge downloads/h200-8b.jsonl"
)
def merge(
    file: Annotated[Path, typer.Argument(help="What `advisor profiles export` or `bench --export` wrote.")],
) -> None:
    """Add someone else's rows; nothing is written before every line of the file is checked."""
    folder = user_profiles_folder()
    merged = merge_file(file, folder)
    out.print(f"{merged.added} rows added to {folder}, {merged.skipped} were there already", soft_wrap=True)


@profiles_app.command(
    epilog='advisor profiles withdraw 6b2e9ea544d5b89a --reason "the card was shared"  |  advisor profiles list --rows'
)
def withdraw(
    row_id: Annotated[str, typer.Argument(metavar="ID", help="16 hex digits; `list --rows` shows them.")],
    reason: Annotated[str, typer.Option(help="Why the row does not hold; kept beside it.")],
) -> None:
    """Withdraw a row by a later line; the row itself stays in its file, unread."""
    card, environment, model = withdraw_row(user_profiles_folder(), row_id, reason)
    out.print(f"withdrawn: {row_id} of {card}/{environment}/{model}", soft_wrap=True)


@profiles_app.command(
    "list", epilog="advisor profiles list  |  advisor profiles list --rows --card h200 --model 8B"
)
def list_(
    card: Annotated[str | None, typer.Option(help="Of this card alone.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model alone.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Every row, with its id.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Count the rows of each card, environment and model by how they ended."""
    every = _chosen(known_rows(withdrawn=True), card, model)
    live = {row.id for row in known_rows()}
    if as_json:
        shown = [_described(row, live) for row in every] if rows else _counted(every, live)
        sys.stdout.write(json.dumps({"schema": 1, "rows" if rows else "profiles": shown}, indent=2) + "\n")
    elif not every:
        folders = " and ".join(map(str, known_folders()))
        err.print(f"no rows in {folders}; `advisor bench` measures some", soft_wrap=True)
    elif rows:
        for row in every:
            out.print(_line(row, live), markup=False, soft_wrap=True)
    else:
        out.print(_table(_counted(every, live)))


@profiles_app.command(
    epilog="advisor profiles export -o mine.jsonl  |  advisor profiles export --card h200 --model 8B -o h200-8b.jsonl"
)
def export(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    card: Annotated[str | None, typer.Option(help="This card's rows alone.")] = None,
    model: Annotated[str | None, typer.Option(help="This model's rows alone.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write your rows to one file, which `merge` reads elsewhere."""
    folder = user_profiles_folder()
    count = export_rows(folder, output, card=_card(card), model=_model(model), force=force)
    out.print(f"{count} rows of {folder} written to {output}", soft_wrap=True)


def _card(name: str | None) -> str | None:
    return name and find_gpu(name)[0].slug


def _model(name: str | None) -> str | None:
    """The catalog's name; or the name as it is, where rows of a model beside the catalog have it."""
    if name is None or any(row.model == name for row in known_rows(withdrawn=True)):
        return name
    return find_model(name)[0].name


def _chosen(rows: Iterable[Measurement], card: str | None, model: str | None) -> list[Measurement]:
    card, model = _card(card), _model(model)
    return [row for row in rows if card in (None, row.card) and model in (None, row.model)]


def _counted(rows: list[Measurement], live: set[str]) -> list[dict[str, Any]]:
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for row in rows:
        outcomes = counts.setdefault((row.card, row.environment, row.model), Counter())
        outcomes[row.outcome.value if row.id in live else "withdrawn"] += 1
    return [
        {"card": card, "environment": environment, "model": model}
        | {name: outcomes[name] for name in (*Outcome, "withdrawn")}
        for (card, environment, model), outcomes in counts.items()
    ]


def _table(counts: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    told = [key for key in counts[0] if any(row[key] for row in counts)]
    for key in told:
        table.add_column(key, justify="right" if isinstance(counts[0][key], int) else "left", overflow="fold")
    for row in counts:
        table.add_row(*(str(row[key] or "-") for key in told))
    return table


def _described(row: Measurement, live: set[str]) -> dict[str, Any]:
    place = {"id": row.id, "card": row.card, "environment": row.environment, "model": row.model}
    ended = {"outcome": row.outcome.value, "reason": row.reason, "withdrawn": row.id not in live}
    return place | ended | {"measured_at": row.measured_at, "config": row.config.to_json()}


def _line(row: Measurement, live: set[str]) -> str:
    config = row.config
    words = [
        row.id,
        f"{row.outcome.value if row.id in live else 'withdrawn':<11}",
        row.card,
        row.model,
        f"{config.method.value} {config.precision.value}",
        f"{config.micro_batch} x {config.sequence_length} x {config.accumulation_steps}",
        f"{config.recomputed} {config.loss.value} {config.optimizer}",
        row.measured_at[:10],
    ]
    return "  ".join(words)
