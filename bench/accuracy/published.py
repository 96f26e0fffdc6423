"""Rows that others published, read from `profiles/published`, as configs of this project's step.

`sources.toml` there says of each source how its rows were made, or why they can't be modelled.
"""

import csv
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError, ExitCode
from advisor.records import GpuSpec, ModelSpec, TrainConfig, config_from_json
from advisor.units import MIB
from bench.accuracy.compared import LeftOut

Row = dict[str, str]
Source = dict[str, Any]

_PRECISIONS = {("nf4", "True"): "nf4", ("nf4", "False"): "nf4-single", ("nf4", ""): "nf4"}
_TARGETS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row that can be modelled. Figures that were not published are None."""

    id: str  # file and line
    source: str
    model: ModelSpec
    gpu: GpuSpec
    config: TrainConfig
    outcome: str  # ok or oom
    boundary: bool  # run to see whether it fits
    allocated_bytes: int | None
    reserved_bytes: int | None
    process_bytes: int | None  # reserved, and what the process holds beside it
    tokens_per_second: float | None
    repeats: str  # the id of the row before it with the same config of the same session


def read_published(folder: Path, *, timed: bool = False) -> tuple[list[PublishedRow], list[LeftOut]]:
    """The rows that can be modelled, and those that can't by source and reason.

    `timed`: also those of which only the time can be, where a source says `only_time` and why.

    Raises: AdvisorError where there are none, or a row can't be read.
    """
    described = _described(folder)
    rows: list[PublishedRow] = []
    left_out: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[Any, ...], str] = {}
    for name, row in _lines(folder):
        source = _source(row, described)
        why = source.get("left_out") or (not timed and source.get("only_time"))
        if why:
            left_out[source["title"], why] += 1
            continue
        rows.append(_modelled(name, row, source, described["models"], folder, first))
    reasons = [LeftOut(source=s, reason=reason, count=n) for (s, reason), n in sorted(left_out.items())]
    return rows, reasons


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "sources.toml"
    if not path.is_file():
        raise AdvisorError(
            "There are no published rows here.",
            why=f"{path.name} is missing from {folder}",
            fix="run it in a checkout of the project, or leave the published rows out",
            exit_code=ExitCode.ENVIRONMENT,
        )
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _lines(folder: Path) -> Iterator[tuple[str, Row]]:
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream), start=2):
                yield f"{path.stem}:{number}", row


def _source(row: Row, described: dict[str, Any]) -> Source:
    for source in described["source"]:
        if row["source"].startswith(source["starts"]) and source.get("framework") in (None, row["framework"]):
            found: Source = source
            return found
    return {"title": row["source"], "left_out": "how it was measured is not described in sources.toml"}


def _modelled(  # noqa: PLR0913 - what a row is read with
    name: str,
    row: Row,
    source: Source,
    models: dict[str, str],
    folder: Path,
    first: dict[tuple[Any, ...], str],
) -> PublishedRow:
    try:
        config = _config(row, source)
        model = _model(row["model"], models, folder)
        gpu = find_gpu(source["card"])[0]
    except (AdvisorError, KeyError, ValueError) as error:
        raise AdvisorError(
            f"The published row {name} can't be read.",
            why=" ".join(str(error).splitlines()[:1]),
            fix="correct the row, or say in sources.toml why it is left out",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error
    before = first.setdefault((row["source"], model.name, config), name)
    return PublishedRow(
        id=name,
        source=source["title"],
        model=model,
        gpu=gpu,
        config=config,
        outcome="oom" if row["note"].startswith("OOM") else "ok",
        boundary=row["role"] == "boundary",
        allocated_bytes=_bytes(row["peak_alloc_mib"]),
        reserved_bytes=_bytes(row["peak_reserved_mib"]),
        process_bytes=_bytes(row["process_mib"]),
        tokens_per_second=float(row["tok_s"]) if row["tok_s"] else None,
        repeats="" if before == name else before,
    )


def _model(name: str, models: dict[str, str], folder: Path) -> ModelSpec:
    known = models.get(name, name)
    if not known.endswith(".json"):
        return find_model(known)[0]
    return replace(find_model(str(folder / known))[0], name=Path(known).stem)


def _config(row: Row, source: Source) -> TrainConfig:
    quantised = row["quant"] != "none"
    shared = source["config"] | (source["quantised"] if quantised else {})
    if (row["grad_ckpt"] == "True") == (shared["checkpointing"] == "none"):
        raise ValueError(f"grad_ckpt {row['grad_ckpt']}, and sources.toml says {shared['checkpointing']}")
    told = {
        "method": "lora",
        "precision": _PRECISIONS[row["quant"], row["double_quant"]] if quantised else row["dtype"],
        "micro_batch": int(row["batch"]),
        "sequence_length": int(row["seq"]),
        "lora_rank": int(row["lora_r"]),
        "lora_targets": _targets(row["targets"]),
        "attention": row["attn"],
    }
    return config_from_json(told | shared)


def _targets(text: str) -> str | list[str]:
    return "all-linear" if text == "all" else [_TARGETS[target] for target in text.split("+")]


def _bytes(text: str) -> int | None:
    return round(float(text) * MIB) if text else None
