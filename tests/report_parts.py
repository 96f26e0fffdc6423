"""Rows that nobody measured, for the tests of the reports alone: a rough formula stands in for a card."""

from dataclasses import replace

from advisor.catalog.models import find_model
from advisor.profiles.record import Clocks, Measurement, Outcome, PhasePeaks, Power, SmallestCap
from advisor.profiles.row import digest
from advisor.records import (
    Checkpointing,
    Loss,
    Method,
    Precision,
    TrainConfig,
)
from advisor.units import GIB, MIB
from bench.accuracy.caps import WITH_RETRIES, WITHOUT_RETRIES
from bench.accuracy.compared import OWN, Compared, Figure
from bench.report.reading import card_rows

CARD_BYTES = 138 * GIB
MODELS = (
    "qwen2.5-0.5b",
    "gemma-3-1b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "phi-4-mini",
    "qwen2.5-7b",
    "llama-3.1-8b",
    "qwen2.5-14b",
    "qwen3-30b-a3b",
    "qwen2.5-32b",
    "llama-3.1-70b",
)
_WEIGHT_BYTES = {
    Precision.FP32: 4.0,
    Precision.FP16: 2.0,
    Precision.BF16: 2.0,
    Precision.INT8: 1.1,
    Precision.NF4: 0.56,
    Precision.NF4_SINGLE: 0.6,
}
_SPEED = {
    Precision.FP32: 0.5,
    Precision.FP16: 1.05,
    Precision.BF16: 1.1,
    Precision.INT8: 0.3,
    Precision.NF4: 0.7,
    Precision.NF4_SINGLE: 0.72,
}


def needed_bytes(model, config):
    """What the config reserves, roughly."""
    parameters = find_model(model)[0].parameters
    learnt = {Method.LORA: 0.01, Method.FULL: 1.0, Method.LAST_LAYERS: 0.15}[config.method]
    kept = {Checkpointing.NONE: 9.0, Checkpointing.NON_REENTRANT: 1.2, Checkpointing.REENTRANT: 1.25}
    tokens = config.micro_batch * config.sequence_length
    activations = tokens * parameters**0.5 * 9 * kept[config.checkpointing]
    logits = tokens * 130_000 * (10 if config.loss is Loss.STOCK else 0.5)
    weights = parameters * (_WEIGHT_BYTES[config.precision] + 12 * learnt)
    return int(weights + activations + logits) // MIB * MIB + 300 * MIB


def measured(model="llama-3.2-1b", *, cap_bytes=None, id_="", watts=None, **config):
    """A row of the config: `oom` where the formula says that it needs more than there is."""
    made = TrainConfig(**({"loss": Loss.CHUNKED} | config))
    reserved = needed_bytes(model, made)
    fits = reserved <= (cap_bytes or CARD_BYTES)
    parameters = find_model(model)[0].parameters
    share = 1 - 0.6 / (1 + made.micro_batch * made.sequence_length / 4000)
    slower = 1.0 if made.checkpointing is Checkpointing.NONE else 1.3
    seconds = made.tokens_per_step * parameters * 6 / (3e14 * share * _SPEED[made.precision] / slower)
    peaks = PhasePeaks(
        peak_allocated_bytes=reserved, peak_reserved_bytes=reserved, peak_device_bytes=reserved
    )
    return Measurement(
        id=id_ or digest([model, made.to_json(), cap_bytes]),
        card="h200",
        environment="torch2.11.0-synthetic",
        model=model,
        config=made,
        outcome=Outcome.OK if fits else Outcome.OOM,
        reason="" if fits else "CUDA out of memory",
        benchmark_version=2,
        measured_at="2026-11-25T10:00:00Z",
        provenance="collected",
        cap_bytes=cap_bytes,
        shared=False,
        static_bytes=reserved // 3 if fits else None,
        peak_allocated_bytes=reserved * 95 // 100 if fits else None,
        peak_reserved_bytes=reserved if fits else None,
        peak_device_bytes=reserved + 1400 * MIB if fits else None,
        alloc_retries=0 if fits else None,
        allocator_settings=None,
        phases={"backward": peaks},
        warmup_steps=1,
        step_seconds=(seconds * 3, seconds, seconds * 1.01, seconds * 0.99) if fits else (),
        clocks=Clocks(sm_mhz_min=1905, sm_mhz_max=1980, throttle_reasons=()) if fits else None,
        power=Power(watts_mean=watts, watts_max=watts * 1.1, energy_joules=3 * seconds * watts)
        if watts and fits
        else None,
        host_peak_bytes=4 * GIB,
        smallest_cap=None,
        host_pace_seconds=None,
        kernels=None,
    )


def many_rows():
    """As many and as varied as a whole card's: 11 models, every outcome, caps, a shared row, repeats."""
    rows = [
        measured(
            model,
            precision=precision,
            checkpointing=checkpointing,
            micro_batch=micro_batch,
            sequence_length=length,
            watts=420.0 + 20 * micro_batch,
        )
        for model in MODELS
        for precision in (Precision.BF16, Precision.NF4)
        for checkpointing, shapes in (
            (Checkpointing.NON_REENTRANT, ((1, 512), (4, 2048), (16, 8192))),
            (Checkpointing.NONE, ((1, 2048), (4, 2048), (16, 2048))),
        )
        for micro_batch, length in shapes
    ]
    for model in MODELS[1:6]:
        rows += [
            measured(
                model, precision=precision, micro_batch=size, checkpointing=Checkpointing.NONE, watts=500.0
            )
            for precision in (Precision.FP32, Precision.FP16, Precision.INT8)
            for size in (1, 8)
        ]
        rows += [
            measured(model, checkpointing=Checkpointing.REENTRANT, micro_batch=2, loss=Loss.STOCK),
            measured(model, method=Method.FULL, micro_batch=2, optimizer="paged_adamw_8bit"),
            measured(model, method=Method.FULL, micro_batch=8, optimizer="paged_adamw_8bit"),
            measured(model, method=Method.LAST_LAYERS, micro_batch=4, accumulation_steps=8),
            measured(model, precision=Precision.NF4, micro_batch=2, cap_bytes=12 * GIB),
            measured(model, precision=Precision.NF4, micro_batch=16, cap_bytes=12 * GIB),
        ]
    return [*rows, *odd_rows()]


def odd_rows():
    """One of each that is not plainly ok: shared, with a cap found, unsupported, failed, repeated."""
    plain = measured(micro_batch=8, precision=Precision.NF4_SINGLE)
    need = plain.peak_reserved_bytes
    cap = SmallestCap(
        without_retries_bytes=need, with_retries_bytes=need - 200 * MIB, resolution_bytes=16 * MIB
    )
    bad = {"peak_reserved_bytes": None, "peak_allocated_bytes": None, "step_seconds": (), "clocks": None}
    unsupported = measured("qwen3-30b-a3b", precision=Precision.INT8)
    return [
        replace(plain, smallest_cap=cap),
        replace(plain, id="again", measured_at="2026-11-20T10:00:00Z"),
        replace(measured(micro_batch=4, precision=Precision.NF4_SINGLE), shared=True),
        replace(unsupported, outcome=Outcome.UNSUPPORTED, reason="no int8 | kernel for <experts>", **bad),
        replace(measured("llama-3.1-8b", attention="eager"), outcome=Outcome.FAILED, reason="it died", **bad),
    ]


def predicted(row, error=0.004):
    """A prediction that is so much too high, with an interval of 1 % below and 2 % above."""

    def figure(measured_bytes, error):
        value = round(measured_bytes * (1 + error))
        return Figure(
            measured_bytes=measured_bytes,
            predicted_bytes=value,
            low_bytes=int(value * 0.99),
            high_bytes=int(value * 1.02),
        )

    figures = {
        "allocated": figure(row.peak_allocated_bytes, 0),
        "reserved": figure(row.peak_reserved_bytes, error),
    }
    if not row.shared:
        figures["device"] = figure(row.peak_device_bytes, error)
    if row.smallest_cap:
        figures[WITH_RETRIES] = figure(row.smallest_cap.with_retries_bytes, error)
        figures[WITHOUT_RETRIES] = figure(row.smallest_cap.without_retries_bytes, 0)
    return Compared(id=row.id, source=OWN, card=row.card, model=row.model, config=row.config, figures=figures)


def off_by(row):
    """How far its prediction is off: from 1.67 % too low to 1.67 % too high, the same for the same row."""
    return (sum(row.id.encode()) % 11 - 5) / 300


def synthetic_card(rows):
    """The rows as a card's, with predictions and an environment."""
    facts = {"card": "NVIDIA H200", "driver": "580", "packages": {"torch": "2.11.0"}}
    compared = [predicted(row, off_by(row)) for row in rows if row.outcome is Outcome.OK]
    return card_rows("h200", rows, compared, {"torch2.11.0-synthetic": facts})
