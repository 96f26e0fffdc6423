"""`advisor models`: which models a card can train."""

import gc
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import all_models
from advisor.commands.estimating import open_estimator
from advisor.commands.plan import print_json
from advisor.commands.plan_views import largest_view
from advisor.errors import ExitCode
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.plan.largest import OfModel, of_models
from advisor.plan.room import DEFAULT_RISK
from advisor.records import Precision
from advisor.units import parse_size_bytes

out = Console(highlight=False)
EPILOG = "advisor models --gpu 16GB  |  advisor models --gpu rtx-4090 --precision bf16 --sequence-length 4096"


def models(  # noqa: PLR0913 - what the answer depends on
    gpu: Annotated[str, typer.Option(help="A card (t4, rtx-4090, h200) or a size (16GB).")],
    sequence_length: Annotated[int, typer.Option("--sequence-length", "--max-seq-length", min=2)] = 2048,
    effective_batch: Annotated[int, typer.Option(min=1, max=4096, help="Sequences a step.")] = 16,
    precision: Annotated[Precision | None, typer.Option(help="Storage of the base weights.")] = None,
    reserve: Annotated[str, typer.Option(help="Memory for a display or others, such as 1GB.")] = "0B",
    risk: Annotated[
        float, typer.Option(help="Chance that it needs more than the card gives.")
    ] = DEFAULT_RISK,
    thorough: Annotated[bool, typer.Option(help="Trace every model; takes minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the models of the catalog that a card can train, the largest first."""
    gc.disable()
    card, assumed = find_gpu(gpu)
    options = PlanOptions(
        sequence_length=sequence_length,
        effective_batch=effective_batch,
        precision=precision,
        reserve_bytes=parse_size_bytes(reserve),
        goal=Goal.QUALITY,
        risk=risk,
    )
    with open_estimator() as estimator:
        answers = list(of_models(all_models(), card, options, estimator, trace_all=thorough))
    if as_json:
        print_json(
            {"schema": 1, "kind": "models", "gpu": card.slug, "models": [_plain(one) for one in answers]}
        )
    else:
        out.print(largest_view(card.name, answers))
        for line in assumed:
            sys.stderr.write(f"note: {line}\n")
    if not any(one.fits for one in answers):
        raise typer.Exit(ExitCode.NO)


def _plain(one: OfModel) -> dict[str, Any]:
    found = one.found
    return {
        "model": one.model.name,
        "parameters": one.model.parameters,
        "fits": one.fits,
        "how": one.how,
        "needed_bytes": one.needed_bytes,
        "lower_bound": found is None or not found.exact,
        "config": found and found.config.to_json(),
        "tokens_per_second": found and found.tokens_per_second,
    }
