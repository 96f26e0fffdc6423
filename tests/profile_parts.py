"""What several tests of the store need: rows that nobody measured, and where they lie."""

import json
from dataclasses import fields, replace

from hypothesis import strategies as st

from advisor.profiles.environments import environment_folder, environment_name
from advisor.profiles.record import Clocks, KernelTime, Measurement, Outcome, PhasePeaks, Power, SmallestCap
from advisor.profiles.row import SCHEMA, measurement_to_row, row_id
from advisor.profiles.store import append_row
from advisor.records import TrainConfig

FACTS = {
    "card": "NVIDIA H200",
    "compute_capability": [9, 0],
    "memory_bytes": 150_000_000_000,
    "driver": "580.1",
    "cuda": "13.0",
    "python": "3.12.1",
    "packages": {"torch": "2.13.0+cu130", "datasets": "missing"},
}
ENVIRONMENT = environment_name(FACTS)
MODEL = "llama-3.2-1b"
PLACE = ("h200", ENVIRONMENT, MODEL)


def measured(number=1, **changes):
    """A row without an id; another number gives other figures."""
    size = number << 20
    peaks = PhasePeaks(peak_allocated_bytes=size, peak_reserved_bytes=2 * size, peak_device_bytes=None)
    made = Measurement(
        id="",
        card="h200",
        environment=ENVIRONMENT,
        model=MODEL,
        config=TrainConfig(),
        outcome=Outcome.OK,
        reason="",
        benchmark_version=2,
        measured_at="2026-11-25T10:00:00Z",
        provenance="collected",
        cap_bytes=None,
        shared=False,
        static_bytes=size,
        peak_allocated_bytes=size,
        peak_reserved_bytes=2 * size,
        peak_device_bytes=3 * size,
        alloc_retries=0,
        allocator_settings="expandable_segments:True",
        phases={"forward": peaks, "first-step": peaks},
        warmup_steps=1,
        step_seconds=(2.5, 0.25, 0.125),
        clocks=Clocks(sm_mhz_min=1905, sm_mhz_max=1980, throttle_reasons=("SwPowerCap",)),
        power=Power(watts_mean=400.5, watts_max=500.25, energy_joules=150.0),
        host_peak_bytes=4 * size,
        smallest_cap=SmallestCap(
            without_retries_bytes=3 * size, with_retries_bytes=2 * size, resolution_bytes=1 << 20
        ),
        host_pace_seconds=0.0036,
        kernels={"matmul": KernelTime(count=96, seconds=0.05)},
    )
    return replace(made, **changes)


def row(number=1, **changes):
    """The row as a line holds it, with its id."""
    made = measurement_to_row(measured(number, **changes))
    return made | {"id": row_id(PLACE, made)}


def keep(folder, *numbers):
    """Append rows of those numbers; gives their ids and their file."""
    environment_folder(folder, "h200", FACTS)
    ids = [append_row(folder, PLACE, measurement_to_row(measured(n))) for n in numbers]
    return ids, folder / "h200" / ENVIRONMENT / f"{MODEL}.jsonl"


def shared_lines(*rows):
    """The lines of a file to share, as objects: the header, then the rows."""
    place = dict(zip(("card", "environment", "model"), PLACE, strict=True))
    return [
        {"schema": SCHEMA, "kind": "advisor-profiles", "environments": {ENVIRONMENT: FACTS}},
        *(place | each for each in rows),
    ]


def write_lines(path, lines):
    """The objects as JSON Lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


_BYTES = st.integers(0, (1 << 50) - 1)
_MAYBE_BYTES = st.none() | _BYTES
_NUMBERS = st.floats(0, 1e5)
_CONFIGS = {
    f.name: st.sampled_from(list(type(f.default)))
    if hasattr(type(f.default), "__members__")
    else st.integers(1, 1 << 20)
    for f in fields(TrainConfig)
    if isinstance(f.default, (int, str))
    and not isinstance(f.default, bool)
    and f.name not in {"adapter_dtype", "optimizer"}
} | {
    "lora_targets": st.just("all-linear")
    | st.lists(st.sampled_from(["q_proj", "v_proj"]), min_size=1).map(tuple),
    "lora_dropout": st.floats(0, 0.9),
    **{f.name: st.booleans() for f in fields(TrainConfig) if isinstance(f.default, bool)},
}
measurements = st.builds(
    Measurement,
    id=st.just("0123456789abcdef"),
    card=st.just("h200"),
    environment=st.just(ENVIRONMENT),
    model=st.just(MODEL),
    config=st.builds(TrainConfig, **_CONFIGS),
    outcome=st.sampled_from(Outcome),
    reason=st.text(max_size=40),
    benchmark_version=st.integers(1, 9),
    measured_at=st.just("2026-11-25T10:00:00Z"),
    provenance=st.sampled_from(["collected", "contributed"]),
    cap_bytes=_MAYBE_BYTES,
    shared=st.booleans(),
    **dict.fromkeys(
        (
            "static_bytes",
            "peak_allocated_bytes",
            "peak_reserved_bytes",
            "peak_device_bytes",
            "host_peak_bytes",
        ),
        _MAYBE_BYTES,
    ),
    alloc_retries=st.none() | st.integers(0, 99),
    allocator_settings=st.none() | st.text(max_size=9),
    phases=st.dictionaries(
        st.sampled_from(["load", "forward", "first-step"]),
        st.builds(
            PhasePeaks,
            peak_allocated_bytes=_BYTES,
            peak_reserved_bytes=_BYTES,
            peak_device_bytes=_MAYBE_BYTES,
        ),
    ),
    warmup_steps=st.integers(0, 3),
    step_seconds=st.lists(_NUMBERS, max_size=5).map(tuple),
    clocks=st.none()
    | st.builds(
        Clocks,
        sm_mhz_min=st.integers(0, 3000),
        sm_mhz_max=st.integers(0, 3000),
        throttle_reasons=st.lists(st.just("SwPowerCap"), max_size=2).map(tuple),
    ),
    power=st.none() | st.builds(Power, watts_mean=_NUMBERS, watts_max=_NUMBERS, energy_joules=_NUMBERS),
    smallest_cap=st.none()
    | st.builds(
        SmallestCap, without_retries_bytes=_BYTES, with_retries_bytes=_BYTES, resolution_bytes=_BYTES
    ),
    host_pace_seconds=st.none() | _NUMBERS,
    kernels=st.none()
    | st.dictionaries(
        st.sampled_from(["matmul", "copy"]), st.builds(KernelTime, count=st.integers(0, 99), seconds=_NUMBERS)
    ),
)
