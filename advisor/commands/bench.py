"""`advisor bench`: measure what a sweep asks for on the card that is present."""

import json
import sys
from dataclasses import replace
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.commands.estimating import open_estimator
from advisor.errors import AdvisorError, ExitCode
from advisor.estimate import COARSE, FINE
from advisor.records import Checkpointing, GpuSpec, Loss, Method, Precision, config_from_json
from advisor.units import gib, parse_seconds, seconds

if TYPE_CHECKING:
    from bench.expected import Expected
    from bench.request import Request
    from bench.sweep import Narrow

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_STANDBY = 4  # imports take several times as long as the measurement of a small model
_STANDBY_CPUS = 4  # a worker that imports ahead takes a core; with fewer it would disturb what is measured
_THREADS = 4  # more of torch's own only wait for each other: what counts is on the card

Names = Annotated[str, typer.Option(help="Names with commas; default: all of the sweep.")]
Numbers = Annotated[str, typer.Option(help="Numbers with commas.")]


def bench(  # noqa: PLR0913 - each narrows or changes a sweep
    sweep: Annotated[
        str, typer.Argument(help="smoke, standard, full, or a .toml or .jsonl file.")
    ] = "standard",
    models: Names = "",
    methods: Names = "",
    precisions: Names = "",
    checkpointing: Names = "",
    losses: Names = "",
    optimizers: Names = "",
    micro_batches: Numbers = "",
    accumulation_steps: Numbers = "",
    sequence_lengths: Numbers = "",
    budget: Annotated[str | None, typer.Option(help="Stop after so long, such as 10m.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure no more than so many.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Print what would run, and run nothing.")] = False,
    gpu: Annotated[str | None, typer.Option(help="With --dry-run: the card to predict for.")] = None,
    try_misfits: Annotated[bool, typer.Option(help="Predict nothing, try also what can't fit.")] = False,
    find_cap: Annotated[bool, typer.Option(help="Find the smallest memory cap of each.")] = False,
    kernels: Annotated[
        bool, typer.Option(help="Trace one more step of each, for what keeps the card busy.")
    ] = False,
    parallel: Annotated[int, typer.Option(min=1, help="So many at a time: memory counts, time not.")] = 1,
    shared: Annotated[
        bool, typer.Option(help="Measure though others use the card; time does not count.")
    ] = False,
    again: Annotated[bool, typer.Option(help="Measure also what has a row.")] = False,
    profiles: Annotated[Path | None, typer.Option(help="Where rows go; default: your own.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write this card's rows to a file to share.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the rows, or the dry run, as JSON lines.")
    ] = False,
) -> None:
    """Measure memory and speed on the card that is present; each finished row is kept at once."""
    from bench.sweep import load_sweep, narrowed

    narrow = _narrow(
        models,
        method=_named(methods, Method),
        precision=_named(precisions, Precision),
        checkpointing=_named(checkpointing, Checkpointing),
        loss=_named(losses, Loss),
        optimizer=_split(optimizers),
        micro_batch=_numbers(micro_batches),
        accumulation_steps=_numbers(accumulation_steps),
        sequence_length=_numbers(sequence_lengths),
    )
    if export is not None and export.exists():
        raise AdvisorError(f"{export} exists.", fix="give another name")
    asked = tuple(replace(each, kernels=kernels) for each in narrowed(load_sweep(sweep), narrow))
    if dry_run:
        _dry_run(asked, gpu, predict=not try_misfits, limit=limit, as_json=as_json)
        return
    if gpu is not None:
        raise AdvisorError(
            "--gpu names a card for --dry-run; measured is the card that is present.", fix="leave it out"
        )
    _measure(
        asked,
        folder=profiles,
        budget_seconds=None if budget is None else parse_seconds(budget),
        limit=limit,
        predict=not try_misfits,
        find_cap=find_cap,
        parallel=parallel,
        shared=shared,
        again=again,
        export=export,
        as_json=as_json,
    )


def _dry_run(
    asked: "tuple[Request, ...]", gpu: str | None, *, predict: bool, limit: int | None, as_json: bool
) -> None:
    card = _card_for_dry_run(gpu)
    expected = _expected(asked, card, predict=predict)[:limit]
    if as_json:
        for each in expected:
            _line({**_described(each.request), **_said(each)})
        return
    out.print(_table(expected, card))
    runs = [each for each in expected if each.fits]
    out.print(
        f"{len(runs)} measurements, about {seconds(sum(each.seconds for each in runs))}; "
        f"{len(expected) - len(runs)} skipped as predicted. Nothing was run."
    )


def _card_for_dry_run(name: str | None) -> GpuSpec:
    if name is not None:
        card, notes = find_gpu(name)
        for note in notes:
            err.print(f"note: {note}")
        return card
    from advisor.commands.here import card_here

    found = card_here()
    if found is None:
        raise AdvisorError(
            "There is no card here to predict for.",
            fix="name one: advisor bench --dry-run --gpu rtx-4090",
            exit_code=ExitCode.ENVIRONMENT,
        )
    return found


def _measure(  # noqa: PLR0913 - what the command was asked
    asked: "tuple[Request, ...]",
    *,
    folder: Path | None,
    budget_seconds: float | None,
    limit: int | None,
    predict: bool,
    find_cap: bool,
    parallel: int,
    shared: bool,
    again: bool,
    export: Path | None,
    as_json: bool,
) -> None:
    from advisor.profiles.folders import user_profiles_folder
    from advisor.profiles.row import measurement_to_row
    from advisor.profiles.share import export_rows
    from bench.driver import Limits
    from bench.pool import WorkerPool
    from bench.session import Sweeping, left_to_do, open_bench

    here = open_bench(folder or user_profiles_folder(), allow_shared=shared)
    if here.shared:
        err.print(f"note: another process uses the {here.card.name}; times of these rows do not count")
    known = [] if again else here.known()
    requests = left_to_do(asked, known, find_cap=find_cap)
    expected = _expected(requests, here.card, predict=predict, halvings=FINE if find_cap else COARSE)
    todo = [each for each in expected if each.fits][:limit]
    _say_what_is_left(len(asked) - len(requests), [each for each in expected if not each.fits])
    limits = Limits(
        parallel=parallel,
        memory_bytes=usable_bytes(here.card),
        budget_seconds=budget_seconds,
        find_cap=find_cap,
    )
    cores = cpu_count() or 1
    standby = min(max(_STANDBY, 2 * parallel), cores // _STANDBY_CPUS)
    pool = WorkerPool(standby=standby, threads=min(_THREADS, max(1, cores // parallel)))
    sweeping = Sweeping(here, err, limits, pool)
    try:
        sweeping.run(todo)
    finally:
        pool.close()
        for row in sweeping.kept if as_json else ():
            _line(measurement_to_row(row))
        place = here.folder / here.card.slug / here.environment
        err.print(f"{len(sweeping.kept)} rows kept in {place}; the same command goes on with the rest")
    if export is not None:
        count = export_rows(here.folder, export, card=here.card.slug, environment=here.environment)
        err.print(f"{count} rows written to {export}; `advisor profiles merge` reads it elsewhere")


def _expected(
    asked: "tuple[Request, ...] | list[Request]", card: GpuSpec, *, predict: bool, halvings: int = COARSE
) -> "list[Expected]":
    """Most informative first, with what is predicted of each."""
    from bench.expected import expectations
    from bench.order import most_informative_first

    ordered = most_informative_first(asked) if asked else []
    if not predict:
        return expectations(ordered, card, None)
    with open_estimator() as estimator:
        return expectations(ordered, card, estimator, halvings=halvings)


def _say_what_is_left(done: int, misfits: "list[Expected]") -> None:
    from bench.request import label

    if done:
        err.print(f"{done} have a row already; --again measures them anew")
    for each in misfits:
        err.print(f"skipped as predicted: {label(each.request)} {_peak(each)}", markup=False)
    if misfits:
        err.print("--try-misfits tries these, too")


def _table(expected: "list[Expected]", card: GpuSpec) -> Table:
    from bench.request import label

    table = Table(
        box=None, header_style="bold", pad_edge=False, title=f"On {card.name}", title_justify="left"
    )
    for title, justify in (("config", "left"), ("peak reserved", "right"), ("about", "right"), ("", "left")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for each in expected:
        table.add_row(label(each.request), _peak(each), seconds(each.seconds), each.reason)
    return table


def _peak(each: "Expected") -> str:
    predicted = each.request.predicted_bytes
    return "-" if predicted is None else gib(predicted)


def _described(request: "Request") -> dict[str, Any]:
    return {"model": request.model.name, **request.config.to_json(), "cap_bytes": request.cap_bytes}


def _said(each: "Expected") -> dict[str, Any]:
    return {
        "predicted_bytes": each.request.predicted_bytes,
        "predicted_cap_bytes": each.request.predicted_cap_bytes,
    }


def _line(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")


def _narrow(models: str, **choices: tuple[Any, ...]) -> "Narrow":
    from bench.sweep import Narrow

    names = tuple(find_model(name)[0].name for name in _split(models))
    return Narrow(models=names, choices=choices)


def _named(text: str, kind: Any) -> tuple[str, ...]:
    names = _split(text)
    field = {Method: "method", Precision: "precision", Checkpointing: "checkpointing", Loss: "loss"}[kind]
    return tuple(getattr(config_from_json({field: name}), field).value for name in names)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _split(text))
    except ValueError as error:
        raise AdvisorError(f"{text!r} holds something else than numbers.", fix="write 1,4,16") from error


EPILOG = "advisor bench smoke  |  advisor bench standard --models 8B --precisions nf4 --budget 10m --export mine.jsonl"
