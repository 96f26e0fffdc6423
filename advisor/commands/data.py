"""`advisor data`: how long the examples of a file are, what padding wastes, and which length to plan for."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.commands.estimating import open_estimator
from advisor.errors import AdvisorError
from advisor.plan.document import Plan
from advisor.plan.lanes import PlanOptions
from advisor.plan.planner import make_plan
from advisor.records import ModelSpec

if TYPE_CHECKING:
    from advisor.data_facts.report import Report

EPILOG = (
    "advisor data train.jsonl --model ./llama  |  advisor data notes.txt --tokenizer tokenizer.json --json"
)
DEFAULT_LENGTH = 2048
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

TokenizerPath = Annotated[
    str | None, typer.Option(help="A tokenizer.json or its folder. Default: the model's, where it lies here.")
]


@dataclass(frozen=True, slots=True)
class Decided:
    """The sequence length of a plan, and how the plan tells what decided it."""

    sequence_length: int
    tell: Callable[[Plan], Plan]


def decide(
    data: Path | None, tokenizer: str | None, model: str, spec: ModelSpec, asked: int | None
) -> Decided:
    """The length that was asked for, else what the data asks for, else the default."""
    if data is None:
        return Decided(asked or DEFAULT_LENGTH, lambda plan: plan)
    from advisor.data_facts.plan import length_for, lengths_for, with_data

    lengths = lengths_for(data, tokenizer, model, spec)
    length = length_for(lengths, spec, asked)
    return Decided(length.cut.sequence_length, lambda plan: with_data(plan, lengths, length))


def data_command(  # noqa: PLR0913 - what is read, and against what
    file: Annotated[Path, typer.Argument(help="JSON Lines as `advisor run` reads, or .txt: one a line.")],
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer and positions; as `plan` takes it.")
    ] = None,
    tokenizer: TokenizerPath = None,
    gpu: Annotated[
        str | None, typer.Option(help="With --model: what the longest batch needs on that card.")
    ] = None,
    max_seq_length: Annotated[int | None, typer.Option(min=2, help="Show what this length would do.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read how long the examples of a file are, and say which max_seq_length they ask for."""
    from advisor.data_facts.plan import length_for, lengths_for
    from advisor.data_facts.report import describe, to_json
    from advisor.data_facts.view import data_view

    if gpu is not None and model is None:
        raise AdvisorError("--gpu wants a --model.", fix="name the model that is to be trained")
    spec, assumed = find_model(model) if model is not None else (None, [])
    for note in assumed:
        err.print(f"note: {note}", markup=False)
    lengths = lengths_for(file, tokenizer, model, spec)
    report = describe(lengths, length_for(lengths, spec, None), max_seq_length)
    if gpu is not None and spec is not None:
        report = _on_card(report, spec, gpu)
    if as_json:
        sys.stdout.write(json.dumps(to_json(report), indent=2) + "\n")
    else:
        out.print(data_view(report))


def _on_card(report: "Report", spec: ModelSpec, gpu: str) -> "Report":
    """With what the longest batch needs there, in the way that a plan for the recommended length trains."""
    from advisor.data_facts.batches import longest_batches

    card, assumed = find_gpu(gpu)
    for note in assumed:
        err.print(f"note: {note}", markup=False)
    options = PlanOptions(sequence_length=report.recommended.cut.sequence_length)
    with open_estimator() as estimator:
        plan = make_plan(spec, card, options, estimator)
        found = longest_batches(plan, spec, card, report.padding, estimator)
    return replace(
        report, on_card=found, way=f"{plan.config.precision.value} on {card.name}, {plan.choices[0].value}"
    )
