"""Put measured rows into profiles/: one folder a card, one below it an environment, one file a model.

    python -m bench.keep rows.jsonl --driver 580.159.04

Rows are what `bench.measure` prints, with `model_name`, the catalog's name, beside the facts. A row that is there already
stays as it is; nothing is rewritten.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from advisor.catalog.gpus import gpu_by_device_name
from advisor.errors import AdvisorError
from advisor.files import replace_text
from advisor.profiles import SCHEMA, profiles_folder
from advisor.records import config_from_json

_FIGURES = (
    *(
        "outcome",
        "reason",
        "static_bytes",
        "peak_allocated_bytes",
        "peak_reserved_bytes",
        "peak_device_bytes",
    ),
    *("alloc_retries", "phases", "step_seconds", "benchmark_version"),
)


def keep(
    rows_file: Path, driver: Annotated[str, typer.Option()], measured_at: Annotated[str, typer.Option()]
) -> None:
    """Add every row of the file."""
    for line in rows_file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        folder = _folder(row, driver)
        _append(folder / f"{row['model_name']}.jsonl", _kept(row, measured_at))


def _kept(row: dict[str, Any], measured_at: str) -> dict[str, Any]:
    config = config_from_json(row).to_json()
    body = {"config": config} | {key: row[key] for key in _FIGURES}
    name = hashlib.sha256(json.dumps([row["model_name"], body], sort_keys=True).encode()).hexdigest()[:16]
    fixed = {"schema": SCHEMA, "id": name, "measured_at": measured_at, "provenance": "collected"}
    return fixed | body


def _folder(row: dict[str, Any], driver: str) -> Path:
    card = gpu_by_device_name(row["card"])
    if card is None:
        raise AdvisorError(f"The catalog has no card {row['card']!r}.", fix="add it to catalog/gpus.toml")
    facts = {"card": row["card"], "driver": driver, "packages": row["versions"]}
    text = json.dumps(facts, sort_keys=True)
    torch = row["versions"]["torch"]
    folder = profiles_folder() / card.slug / f"torch{torch}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    replace_text(folder / "environment.json", json.dumps(facts, indent=2) + "\n")
    return folder


def _append(path: Path, row: dict[str, Any]) -> None:
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    if row["id"] not in known:
        replace_text(path, known + json.dumps(row) + "\n")


if __name__ == "__main__":
    typer.run(keep)
