"""`advisor check`: does this config fit that card? For a terminal, for pre-commit and for CI."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from advisor.catalog.assumed import assumed_for
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.check import Verdict, check
from advisor.commands.check_view import Checked, answer_view, case_of, document, markdown
from advisor.commands.estimating import open_estimator
from advisor.commands.here import card_here
from advisor.errors import AdvisorError, ExitCode, unknown_name
from advisor.estimate import Estimator
from advisor.interop.reading import Reading, read_config
from advisor.interop.settings import can_be_set
from advisor.junit import write_junit
from advisor.records import (
    Checkpointing,
    GpuSpec,
    Loss,
    Method,
    Precision,
    TrainConfig,
    all_values,
    config_from_json,
)
from advisor.step_summary import append_to_job_page
from advisor.units import parse_size_bytes

EPILOG = "advisor check --gpu 16GB train.yml  |  advisor check --gpu t4 --gpu 24GB --model 8B --precision nf4 --micro-batch 4"
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_NO_FILE = "the options"


def check_command(  # noqa: PLR0913 - each is a dimension that the user may fix
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Configs of trl, axolotl or LLaMA-Factory, or plan files."),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="A card or a size; may be given again. Default: the plan's, or the one here."),
    ] = None,
    file: Annotated[list[Path] | None, typer.Option(help="As an argument.")] = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="trl, axolotl, llama-factory or plan. Default: by its keys."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Default: the file's own.")] = None,
    method: Annotated[Method | None, typer.Option()] = None,
    precision: Annotated[Precision | None, typer.Option(help="Storage of the base weights.")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Sequences at a time.")] = None,
    accumulation_steps: Annotated[int | None, typer.Option(min=1)] = None,
    sequence_length: Annotated[
        int | None, typer.Option("--sequence-length", "--max-seq-length", min=1)
    ] = None,
    checkpointing: Annotated[Checkpointing | None, typer.Option()] = None,
    loss: Annotated[Loss | None, typer.Option()] = None,
    optimizer: Annotated[str | None, typer.Option(help="transformers' name.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other key of docs/estimate.md, such as autocast=fp16."),
    ] = None,
    reserve: Annotated[str, typer.Option(help="Memory for a display or others, such as 1GB.")] = "0B",
    junit: Annotated[Path | None, typer.Option(help="Write the answers as JUnit XML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say whether a config fits a card, and the smallest change after which it does.

    Exit codes: 0 it fits, 1 it does not (or may not), 2 a file or an option can't be read, 3 the environment.
    """
    row = {
        "method": method,
        "precision": precision,
        "micro_batch": micro_batch,
        "accumulation_steps": accumulation_steps,
        "sequence_length": sequence_length,
        "checkpointing": checkpointing,
        "loss": loss,
        "optimizer": optimizer,
        "lora_rank": lora_rank,
    }
    asked = {name: value for name, value in row.items() if value is not None} | dict(
        map(_setting, settings or ())
    )
    paths = [*(files or ()), *(file or ())]
    cards = [find_gpu(text) for text in gpu or ()]
    question = _Question(
        cards=tuple((card, tuple(assumed)) for card, assumed in cards),
        model=model,
        format_name=format_name,
        asked=asked,
        reserve_bytes=parse_size_bytes(reserve),
    )
    with open_estimator() as estimator:
        checked = [one for path in paths or [None] for one in question.answers(path, estimator)]
    _tell(checked, junit, as_json=as_json)
    raise typer.Exit(_exit_code(checked))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked of every file."""

    cards: tuple[tuple[GpuSpec, tuple[str, ...]], ...]
    model: str | None
    format_name: str | None
    asked: dict[str, Any]  # what the options say instead of the file
    reserve_bytes: int

    def answers(self, path: Path | None, estimator: Estimator) -> Iterator[Checked]:
        """One a card; where the file can't be read, one that says so."""
        name = _NO_FILE if path is None else str(path)
        try:
            cards = self.cards or (self._own_card(path),)
        except AdvisorError as error:
            yield Checked(name=name, reading=None, answer=None, error=error, duration_seconds=0.0)
            return
        for card, assumed in cards:
            began = time.monotonic()
            reading, answer, problem = None, None, None
            try:
                reading = _with_assumed(self._reading(path, card, assumed))
                answer = check(
                    reading.model,
                    reading.config,
                    card,
                    estimator,
                    reserve_bytes=self.reserve_bytes,
                    may_become=partial(can_be_set, reading.format, reading.config),
                )
            except AdvisorError as error:
                problem = error
            took = time.monotonic() - began
            yield Checked(name=name, reading=reading, answer=answer, error=problem, duration_seconds=took)

    def _own_card(self, path: Path | None) -> tuple[GpuSpec, tuple[str, ...]]:
        read = None if path is None else read_config(path, format_name=self.format_name, model=self.model)
        card = (read.gpu if read else None) or card_here()
        if card is None:
            raise AdvisorError(
                "No card was named, and there is none here.", fix="give --gpu 16GB, or --gpu t4"
            )
        return card, ()

    def _reading(self, path: Path | None, card: GpuSpec, assumed: tuple[str, ...]) -> Reading:
        if path is None:
            return self._of_options(assumed)
        read = read_config(path, format_name=self.format_name, model=self.model, gpu=card)
        return _replaced(read, config_from_json(read.config.to_json() | self.asked), assumed)

    def _of_options(self, assumed: tuple[str, ...]) -> Reading:
        if self.model is None:
            raise AdvisorError("There is nothing to check.", fix="give a file, or --model 8B")
        model, more = find_model(self.model)
        config = config_from_json(self.asked)
        left = tuple((n, v) for n, v in all_values(config).items() if n not in self.asked)
        return Reading(
            format="",
            title="",
            model=model,
            config=config,
            gpu=None,
            assumptions=(*assumed, *more),
            defaults=left,
            ignored=(),
            unknown=(),
        )


def _with_assumed(read: Reading) -> Reading:
    return replace(read, assumptions=(*read.assumptions, *assumed_for(read.config)))


def _replaced(read: Reading, config: TrainConfig, assumed: tuple[str, ...]) -> Reading:
    values = {f.name: getattr(read, f.name) for f in fields(Reading)}
    return Reading(**values | {"config": config, "assumptions": (*assumed, *read.assumptions)})


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    known = [f.name for f in fields(TrainConfig)]
    if not sign:
        raise AdvisorError(f"--set {text!r} sets nothing.", fix="write --set autocast=fp16")
    if name not in known:
        raise unknown_name("key", name, known, fix="see docs/estimate.md for the keys")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _tell(checked: list[Checked], junit: Path | None, *, as_json: bool) -> None:
    if junit is not None:
        write_junit(junit, "advisor check", [case_of(one) for one in checked])
    append_to_job_page(markdown(checked))
    if as_json:
        sys.stdout.write(json.dumps(document(checked), indent=2) + "\n")
        return
    told: set[str] = set()
    for one in checked:
        if one.error is not None:
            named = "" if one.name in str(one.error) or len(checked) == 1 else f"{one.name}: "
            err.print(f"{named}{one.error}", markup=False, soft_wrap=True)
        else:
            out.print(answer_view(one, again=one.name in told))
            told.add(one.name)


def _exit_code(checked: list[Checked]) -> ExitCode:
    """The gravest: what can't be answered before what does not fit."""
    errors = [one.error.exit_code for one in checked if one.error is not None]
    if errors:
        return max(errors)
    fits = all(one.answer is not None and one.answer.verdict is Verdict.FITS for one in checked)
    return ExitCode.DONE if fits else ExitCode.NO
