"""Measured rows: JSON Lines in `profiles/`, one folder a card, one below it an environment.

A row is one config on one card in one fresh process; failures are rows too. `profiles/README.md` explains
every key.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import advisor
from advisor.errors import AdvisorError, ExitCode
from advisor.records import TrainConfig, config_from_json

SCHEMA = 1  # 1: first


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured config; bytes are torch's and NVML's figures, seconds are wall time."""

    id: str
    card: str  # the catalog's name
    model: str  # the catalog's name
    config: TrainConfig
    outcome: str  # ok, oom, failed
    static_bytes: int
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    peak_device_bytes: int
    retries: int
    phase_allocated_bytes: dict[str, int]
    step_seconds: tuple[float, ...]
    measured_at: str


def profiles_folder() -> Path:
    """The rows that ship: `profiles` in a checkout, `advisor/_shipped` in an installed package."""
    package = Path(advisor.__file__).parent
    inside = package / "_shipped"
    return inside if inside.is_dir() else package.parent / "profiles"


def read_rows(folder: Path) -> Iterator[Measurement]:
    """Every row under the folder, file by file.

    Raises: AdvisorError naming file and line where a row can't be read or is of a newer schema.
    """
    for path in sorted(folder.glob("*/*/*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                yield _row(path, number, line)


def _row(path: Path, number: int, line: str) -> Measurement:
    try:
        row = json.loads(line)
        return _measurement(path, row)
    except (KeyError, TypeError, ValueError, AdvisorError) as error:
        raise AdvisorError(
            f"{path}, line {number} is not a row that can be read.",
            why=f"{type(error).__name__}: {error}",
            fix="update the project, or take the line out",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error


def _measurement(path: Path, row: dict[str, Any]) -> Measurement:
    if row["schema"] > SCHEMA:
        raise ValueError(f"schema {row['schema']}, this version reads up to {SCHEMA}")
    phases = {name: peak["peak_allocated_bytes"] for name, peak in row["phases"].items()}
    return Measurement(
        id=row["id"],
        card=path.parts[-3],
        model=path.stem,
        config=config_from_json(row["config"]),
        outcome=row["outcome"],
        static_bytes=row["static_bytes"],
        peak_allocated_bytes=row["peak_allocated_bytes"],
        peak_reserved_bytes=row["peak_reserved_bytes"],
        peak_device_bytes=row["peak_device_bytes"],
        retries=row["alloc_retries"],
        phase_allocated_bytes=phases,
        step_seconds=tuple(row["step_seconds"]),
        measured_at=row["measured_at"],
    )
