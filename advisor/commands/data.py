"""`advisor data`: how long the examples of a file are, what padding wastes, and which length to plan for."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advisor.catalog.models import find_model
from advisor.plan.document import Plan
from advisor.records import ModelSpec

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


def data_command(
    file: Annotated[Path, typer.Argument(help="JSON Lines as `advisor run` reads, or .txt: one a line.")],
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer and positions; as `plan` takes it.")
    ] = None,
    tokenizer: TokenizerPath = None,
    max_seq_length: Annotated[int | None, typer.Option(min=2, help="Show what this length would do.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read how long the examples of a file are, and say which max_seq_length they ask for."""
    from advisor.data_facts.plan import length_for, lengths_for
    from advisor.data_facts.report import describe, to_json
    from advisor.data_facts.view import data_view

    spec, assumed = find_model(model) if model is not None else (None, [])
    for note in assumed:
        err.print(f"note: {note}", markup=False)
    lengths = lengths_for(file, tokenizer, model, spec)
    report = describe(lengths, length_for(lengths, spec, None), max_seq_length)
    if as_json:
        sys.stdout.write(json.dumps(to_json(report), indent=2) + "\n")
    else:
        out.print(data_view(report))
