"""How long ten thousand rows take to read: `pytest bench/test_profiles_speed.py`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from advisor.profiles.folders import places
from advisor.profiles.record import Clocks, Measurement, Outcome, PhasePeaks, Power
from advisor.profiles.row import _known_config, measurement_to_row
from advisor.profiles.store import read_rows
from advisor.records import Checkpointing, Precision, TrainConfig

ROWS = 10_000
MODELS = 40
CONFIGS = 250  # of each model, shared between the models as a sweep shares them
PHASES = (
    "load",
    "prepare",
    "forward",
    "backward",
    "optimizer",
    "first-step",
    "later-steps",
    "evaluate",
    "save",
)


def _config_of(number: int) -> TrainConfig:
    precisions, kinds = tuple(Precision), tuple(Checkpointing)
    return TrainConfig(
        precision=precisions[number % len(precisions)],
        checkpointing=kinds[number // 6 % len(kinds)],
        micro_batch=1 + number // 18,
    )


def _row(number: int) -> Measurement:
    size = 1_000_000_000 + 4096 * number
    peaks = PhasePeaks(peak_allocated_bytes=size, peak_reserved_bytes=size, peak_device_bytes=size)
    return Measurement(
        id=f"{number:016x}",
        card="h200",
        environment="torch2.13.0-000000",
        model=f"model-{number // CONFIGS}",
        config=_config_of(number % CONFIGS),
        outcome=Outcome.OK,
        reason="",
        benchmark_version=2,
        measured_at="2026-11-25T10:00:00Z",
        provenance="collected",
        cap_bytes=None,
        shared=False,
        static_bytes=size,
        peak_allocated_bytes=size,
        peak_reserved_bytes=size,
        peak_device_bytes=size,
        alloc_retries=0,
        allocator_settings=None,
        phases=dict.fromkeys(PHASES, peaks),
        warmup_steps=1,
        step_seconds=(2.2530758129999953, 0.26162455400000795, 0.2224378410000014, 0.2324378410000014),
        clocks=Clocks(sm_mhz_min=1905, sm_mhz_max=1980, throttle_reasons=("SwPowerCap",)),
        power=Power(watts_mean=412.512, watts_max=498.25, energy_joules=312.25),
        host_peak_bytes=size,
        smallest_cap=None,
        host_pace_seconds=None,
        kernels=None,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten thousand rows of 40 models."""
    made = tmp_path_factory.mktemp("profiles")
    for model in range(MODELS):
        rows = (_row(number) for number in range(model * CONFIGS, (model + 1) * CONFIGS))
        path = made / "h200" / "torch2.13.0-000000" / f"model-{model}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(measurement_to_row(row)) + "\n" for row in rows))
    return made


def test_read(benchmark: BenchmarkFixture, folder: Path) -> None:
    """From the files to the records, with nothing remembered: under half a second."""
    size = sum(path.stat().st_size for path in places(folder).values())
    benchmark.extra_info["bytes_a_row"] = size // ROWS

    rows = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: list(read_rows(folder)), setup=_known_config.cache_clear, rounds=7
    )

    assert len(rows) == ROWS
    assert rows[0] == replace(_row(0), step_seconds=rows[0].step_seconds)
