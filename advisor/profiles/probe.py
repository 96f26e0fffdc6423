"""Rows of `advisor probe`: what single kernels take and hold on a card; `profiles/PROBE.md` explains every key."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from advisor.errors import AdvisorError, ExitCode
from advisor.profiles.appending import whole_lines

SCHEMA = 1  # 1: first
FILE_NAME = "probe.jsonl"  # beside the models' files, and no model


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedKernel:
    """One kernel at one size; what could not be measured is None, and `reason` says why."""

    name: str
    sizes: dict[str, int | str]
    seconds: tuple[float, ...] | None  # of one call, raw samples
    flops: int  # of one call; a multiply-add is two
    bytes: int  # that one call must move
    peak_bytes: int | None  # the most that one call took from the allocator
    result_bytes: int | None  # what of it was still held when it returned
    allocator_events: tuple[int, ...] | None  # allocations, and frees below zero, in order
    module_bytes: int | None  # what its first calls loaded onto the card beyond the allocator
    reason: str  # empty where there are seconds

    @property
    def median_seconds(self) -> float | None:
        """The median of the samples."""
        return median(self.seconds) if self.seconds else None

    @property
    def inside_bytes(self) -> int | None:
        """The most that was held beyond the result."""
        if self.peak_bytes is None or self.result_bytes is None:
            return None
        return self.peak_bytes - self.result_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe of one card in one environment."""

    card: str  # the catalog's name
    environment: str  # the folder's name: torch's version and the fingerprint
    benchmark_version: int
    measured_at: str  # UTC, ISO 8601
    quick: bool  # the most telling kernels alone
    facts: dict[str, Any]  # of the card's memory: context, modules, workspaces
    kernels: tuple[ProbedKernel, ...]

    def find(self, name: str, **sizes: int | str) -> Iterator[ProbedKernel]:
        """The measured kernels of that name and those sizes; sizes that are not given may be any."""
        for kernel in self.kernels:
            if kernel.name == name and kernel.seconds and sizes.items() <= kernel.sizes.items():
                yield kernel


def read_probes(folder: Path, *, card: str = "*") -> list[Probe]:
    """Every probe under the folder, or of one card alone, oldest first within a file.

    Raises: AdvisorError naming file and line where a row can't be read or is of a newer schema.
    """
    return [
        _probe(path, number, line)
        for path in sorted(folder.glob(f"{card}/*/{FILE_NAME}"))
        for number, line in enumerate(whole_lines(path.read_bytes()).split(b"\n"), start=1)
        if line.strip()
    ]


def probe_from_row(row: dict[str, Any], *, card: str, environment: str) -> Probe:
    """The probe that a row holds.

    Raises: KeyError, TypeError or ValueError where it holds none, or one of a newer schema.
    """
    if row["schema"] > SCHEMA:
        raise ValueError(f"schema {row['schema']}, this version reads up to {SCHEMA}")
    if row["kind"] != "probe":
        raise ValueError(f"a row of kind {row['kind']!r}")
    return Probe(
        card=card,
        environment=environment,
        benchmark_version=int(row["benchmark_version"]),
        measured_at=str(row["measured_at"]),
        quick=bool(row["quick"]),
        facts=dict(row["facts"]),
        kernels=tuple(map(_kernel, row["kernels"])),
    )


def _kernel(row: dict[str, Any]) -> ProbedKernel:
    seconds, events = row["seconds"], row["allocator_events"]
    return ProbedKernel(
        name=row["name"],
        sizes=dict(row["sizes"]),
        seconds=None if seconds is None else tuple(map(float, seconds)),
        flops=int(row["flops"]),
        bytes=int(row["bytes"]),
        peak_bytes=row["peak_bytes"],
        result_bytes=row["result_bytes"],
        allocator_events=None if events is None else tuple(map(int, events)),
        module_bytes=row["module_bytes"],
        reason=row["reason"],
    )


def _probe(path: Path, number: int, line: bytes) -> Probe:
    try:
        card, environment = path.parts[-3:-1]
        return probe_from_row(json.loads(line), card=card, environment=environment)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise AdvisorError(
            f"{path}, line {number} is not a probe that can be read.",
            why=f"{type(error).__name__}: {error}",
            fix="update the project, or take the line out",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error
