"""From a line of a file to a measurement and back; `profiles/README.md` explains every key."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from advisor.catalog.names import shown
from advisor.profiles.folders import Place
from advisor.profiles.record import (
    Clocks,
    KernelTime,
    Measurement,
    Outcome,
    PhasePeaks,
    Power,
    SmallestCap,
)
from advisor.records import TrainConfig, config_from_json

# 1: first; 2: caps, sensors, host memory and warm-up have keys, phases have NVML's figure; 3: the host's pace, kernels
SCHEMA = 3
PLACE_KEYS = ("card", "environment", "model")
ROW_KEYS = ("schema", *(f.name for f in fields(Measurement) if f.name not in PLACE_KEYS))
_NOT_IN_THE_ID = ("schema", "id", "provenance")
_SINCE_3 = ("host_pace_seconds", "kernels")  # unknown, they are not in the id, so that older rows keep theirs


def measurement_to_row(made: Measurement) -> dict[str, Any]:
    """Plain values, as a line holds them; `row_to_measurement` reads them back."""
    values = {name: _plain(getattr(made, name)) for name in ROW_KEYS[1:]}
    return {"schema": SCHEMA} | values


def row_to_measurement(place: Place, row: dict[str, Any]) -> Measurement:
    """The measurement that a row of this schema holds.

    Raises: KeyError, TypeError, ValueError or AdvisorError where it holds none.
    """
    clocks, power, cap, kernels = row["clocks"], row["power"], row["smallest_cap"], row["kernels"]
    return Measurement(
        id=row["id"],
        card=place[0],
        environment=place[1],
        model=place[2],
        config=_config(row["config"]),
        outcome=Outcome(row["outcome"]),
        reason=row["reason"],
        benchmark_version=row["benchmark_version"],
        measured_at=row["measured_at"],
        provenance=row["provenance"],
        cap_bytes=row["cap_bytes"],
        shared=row["shared"],
        static_bytes=row["static_bytes"],
        peak_allocated_bytes=row["peak_allocated_bytes"],
        peak_reserved_bytes=row["peak_reserved_bytes"],
        peak_device_bytes=row["peak_device_bytes"],
        alloc_retries=row["alloc_retries"],
        allocator_settings=row["allocator_settings"],
        phases={name: PhasePeaks(**peaks) for name, peaks in row["phases"].items()},
        warmup_steps=row["warmup_steps"],
        step_seconds=tuple(row["step_seconds"]),
        clocks=clocks and Clocks(**clocks | {"throttle_reasons": tuple(clocks["throttle_reasons"])}),
        power=power and Power(**power),
        host_peak_bytes=row["host_peak_bytes"],
        smallest_cap=cap and SmallestCap(**cap),
        host_pace_seconds=row["host_pace_seconds"],
        kernels=kernels and {name: KernelTime(**spent) for name, spent in kernels.items()},
    )


def row_id(place: Place, row: dict[str, Any]) -> str:
    """Sixteen hex digits of where the row lies and all that it says, but for its provenance."""
    unknown = {name for name in _SINCE_3 if row.get(name) is None}
    said = {name: value for name, value in row.items() if name not in {*_NOT_IN_THE_ID, *unknown}}
    return digest([*place, said])


def digest(value: Any) -> str:
    """Sixteen hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def upgraded(row: dict[str, Any]) -> dict[str, Any]:
    """The row, or the withdrawal of one, in this schema.

    Raises: KeyError, TypeError or ValueError where it is of none that this version reads.
    """
    schema = row["schema"]
    if schema == SCHEMA:
        return row
    if schema == 1 and "withdraws" not in row:
        return upgrade_2_to_3(upgrade_1_to_2(row))
    if schema == 2:
        return row | {"schema": 3} if "withdraws" in row else upgrade_2_to_3(row)
    raise ValueError(f"it is of schema {shown(schema)}, and this version reads up to {SCHEMA}")


def upgrade_1_to_2(row: dict[str, Any]) -> dict[str, Any]:
    """Says of what the first schema did not record that it is unknown; its first step was the warm-up."""
    phases = {name: peaks | {"peak_device_bytes": None} for name, peaks in row["phases"].items()}
    unknown = dict.fromkeys(
        ("cap_bytes", "allocator_settings", "clocks", "power", "host_peak_bytes", "smallest_cap")
    )
    more = {"schema": 2, "phases": phases, "warmup_steps": 1, "shared": False}
    return {**row, **unknown, **more}


def upgrade_2_to_3(row: dict[str, Any]) -> dict[str, Any]:
    """Says of what the second schema did not record that it is unknown."""
    return {**row, "schema": 3} | dict.fromkeys(_SINCE_3)


def _config(config: dict[str, Any]) -> TrainConfig:
    targets = config.get("lora_targets")
    return _known_config(**config | {"lora_targets": tuple(targets)} if isinstance(targets, list) else config)


@lru_cache(maxsize=1 << 14, typed=True)  # typed: JSON's true is not 1
def _known_config(**config: Any) -> TrainConfig:
    """Many rows share a config, and checking it costs more than all the rest of a row."""
    return config_from_json(config)


def _plain(value: Any) -> Any:
    if isinstance(value, TrainConfig):
        return value.to_json()
    if isinstance(value, StrEnum):
        return value.value
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
