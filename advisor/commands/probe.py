"""`advisor probe`: what single kernels take and hold on the card that is present."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from advisor.errors import AdvisorError
from advisor.files import write_new
from advisor.records import GpuSpec

if TYPE_CHECKING:
    import torch

    from advisor.train.sensors import CardSensors

EPILOG = "advisor probe  |  advisor probe --quick --output probe.json"

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def probe(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write it to a new file, not into the store.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="The most telling kernels alone, in a few seconds.")] = False,
    shared: Annotated[bool, typer.Option(help="Probe though others use the card.")] = False,
    profiles: Annotated[Path | None, typer.Option(help="Where the row goes; default: your own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure what kernels take and hold on the card that is present, in under a minute."""
    if output is not None and output.exists():
        raise AdvisorError(f"{output} exists.", fix="give another name")
    err.print("starting torch …", style="dim")
    from advisor.train.card import choose_device
    from advisor.train.sensors import CardSensors

    sensors = CardSensors.open(None)  # first of all: later this process is on the card, too
    device = choose_device()
    card = _card(device)
    in_use = _refuse_others(card, sensors, shared=shared)
    row = _probed(device, sensors, quick=quick)
    row["facts"]["shared"] = in_use
    place = _place(card, device)
    if output is not None:
        write_new(output, json.dumps(row | place) + "\n")
        err.print(f"saved {output}")
    else:
        _keep(row, place, profiles)
    if as_json:
        sys.stdout.write(json.dumps(row | place) + "\n")
        return
    from advisor.profiles.probe import probe_from_row
    from bench.probe_view import probe_view

    out.print(probe_view(probe_from_row(row, card=card.name, environment="")))


def _card(device: "torch.device") -> GpuSpec:
    import torch

    from bench.present import present_card

    here = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    name, memory_bytes = (here.name, here.total_memory) if here is not None else (None, None)
    return present_card(name, memory_bytes, verb="probe", fix="run this where the card is")


def _refuse_others(card: GpuSpec, sensors: "CardSensors | None", *, shared: bool) -> bool:
    in_use = sensors is not None and sensors.used_by_others(os.getpid())
    if in_use and not shared:
        from bench.present import others_error

        raise others_error(card, why="times would be wrong", fix="end it, or probe with --shared")
    if sensors is None:
        err.print("note: NVML can't be asked; clocks, power and who else uses the card stay unknown")
    return in_use


def _probed(device: "torch.device", sensors: "CardSensors | None", *, quick: bool) -> dict[str, Any]:
    from bench.kernels.kernel import Place
    from bench.probe import probe as run_probe

    columns = (TextColumn("{task.description:<32}"), BarColumn(20), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        return run_probe(Place(device), sensors, quick=quick, on_kernel=show)


def _place(card: GpuSpec, device: "torch.device") -> dict[str, Any]:
    """What the row's folder says in the store, for a row that is not there."""
    from advisor.train.environment import environment

    facts = environment(device)
    del facts["allocator_settings"]  # no part of an environment: rows have it themselves
    return {"card": card.slug, "environment": facts}


def _keep(row: dict[str, Any], place: dict[str, Any], profiles: Path | None) -> None:
    from advisor.profiles.environments import environment_folder
    from advisor.profiles.folders import PROBE, place_path, user_profiles_folder
    from advisor.profiles.store import append_row

    folder = profiles or user_profiles_folder()
    environment = environment_folder(folder, place["card"], place["environment"])
    where = (place["card"], environment, PROBE)
    append_row(folder, where, row)
    err.print(f"one row kept in {place_path(folder, where)}")
