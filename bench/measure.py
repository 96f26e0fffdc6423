"""Measure one configuration on the card that is present, in this process; print one JSON row.

    python -m bench.measure '{"model": {…config.json…}, "precision": "nf4", "sequence_length": 2048}'

The parent starts a fresh process for each row: what an earlier run left in the allocator, in cuBLAS or in
a library's globals would be measured with it.
"""

import gc
import gzip
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from advisor.errors import AdvisorError, ExitCode
from advisor.records import TrainConfig, config_from_json
from advisor.step.data import random_blocks
from advisor.step.session import build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Shaped, random_weights
from advisor.train.card import cap_memory, choose_device, set_allocator
from advisor.train.environment import package_versions
from advisor.train.meter import Meter, measured_figures
from advisor.train.progress import StepClock

BENCHMARK_VERSION = 1
_STEPS = 4


def measure(row: dict[str, Any], events: Path | None = None) -> dict[str, Any]:
    """The row with its outcome: `ok` with the figures, `oom` or `failed` with the reason."""
    config = config_from_json(row)
    set_allocator(config)
    device = choose_device()
    if device.type != "cuda":
        raise AdvisorError("There is no CUDA card to measure.", exit_code=ExitCode.ENVIRONMENT)
    if row.get("cap_bytes"):
        cap_memory(int(row["cap_bytes"]), device)
    meter = Meter(device)
    if events is not None:
        torch.cuda.memory._record_memory_history(  # noqa: SLF001 - torch's documented way, without a public name
            enabled="all", context=None, stacks="python", max_entries=2_000_000
        )
    began = time.perf_counter()
    try:
        outcome = _run(row, config, meter)
    except torch.cuda.OutOfMemoryError as error:
        outcome = {"outcome": "oom", "reason": str(error)[:400]}
    except Exception as error:  # noqa: BLE001 - a failed row is a row
        outcome = {"outcome": "failed", "reason": f"{type(error).__name__}: {error}"[:400]}
    meter.finish()
    if events is not None:
        _save_events(events)
    return row | outcome | _figures(meter) | {"wall_seconds": time.perf_counter() - began}


def _run(row: dict[str, Any], config: TrainConfig, meter: Meter) -> dict[str, Any]:
    facts = row["model"]
    steps = int(row.get("steps", _STEPS))
    vocab = int(facts["vocab_size"])
    data = random_blocks(
        rows=config.effective_batch * steps, sequence_length=config.sequence_length, vocab=vocab
    )
    with tempfile.TemporaryDirectory() as directory:
        session = build(
            Shaped(facts, random_weights()),
            config,
            RunOptions(output_dir=directory, max_steps=steps),
            train_data=data,
            device=meter.device,
            observer=meter,
            callbacks=(StepClock(meter),),
        )
        session.train()
    gc.collect()
    return {"outcome": "ok", "reason": ""}


def _figures(meter: Meter) -> dict[str, Any]:
    return measured_figures(meter) | {
        "benchmark_version": BENCHMARK_VERSION,
        "reserved_at_end_bytes": torch.cuda.memory_reserved(),
        "card": torch.cuda.get_device_name(0),
        "versions": package_versions(),
    }


def _save_events(path: Path) -> None:
    """The allocator's own history: [action, bytes, address], in order."""
    trace = torch.cuda.memory._snapshot()["device_traces"][0]  # noqa: SLF001 - as above
    rows = [[entry["action"], entry["size"], entry.get("addr", 0)] for entry in trace]
    path.write_bytes(gzip.compress(json.dumps(rows, separators=(",", ":")).encode()))


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    print(json.dumps(measure(request, target)))  # noqa: T201
