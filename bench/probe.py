"""The probe: what single kernels take and hold on the card that is present, in under a minute."""

import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from advisor.profiles.probe import SCHEMA
from advisor.train.sensors import CardSensors, Watch, to_clocks_and_power
from bench.kernels.kernel import Kernel, Place
from bench.kernels.suite import kernel_row, release, run_kernel, suite
from bench.workspaces import Beyond, cublas_workspaces, make_context

BENCHMARK_VERSION = 1  # 1: first
_WAKE_CYCLES = 500_000_000  # some 0.3 s

OnKernel = Callable[[int, int, str], None]  # how many are done, of how many, and which is next


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Time to spend; a whole probe takes less than a minute."""

    kernel_seconds: float = 0.02  # timed calls of one kernel, beside its warm-up
    suite_seconds: float = 40.0  # kernels whose turn comes later are not measured


_BUDGET = Budget()


def probe(
    place: Place,
    sensors: CardSensors | None,
    *,
    quick: bool = False,
    on_kernel: OnKernel | None = None,
    budget: Budget = _BUDGET,
) -> dict[str, Any]:
    """One row of facts. The sensors must have been opened, and nothing put on the card, before.

    Never raises for what a card or a library can't do: such a kernel has a reason and no seconds.
    """
    began, measured_at = time.perf_counter(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with _silent(), _own_settings(), _watched(sensors) as watch:
        facts, beyond = _memory_facts(place, sensors)
        _wake(place)
        kernels = _run_suite(suite(place, quick=quick), place, beyond, budget, on_kernel)
    clocks, power = to_clocks_and_power(watch.readings()) if watch is not None else (None, None)
    facts |= {
        "module_bytes": _by_family(kernels),
        "beyond_allocator_bytes": beyond.last_bytes if place.on_cuda else None,
        "clocks": clocks and asdict(clocks),
        "power": power and asdict(power),
        "probe_seconds": round(time.perf_counter() - began, 3),
    }
    return {
        "schema": SCHEMA,
        "kind": "probe",
        "benchmark_version": BENCHMARK_VERSION,
        "measured_at": measured_at,
        "quick": quick,
        "facts": facts,
        "kernels": kernels,
    }


def _memory_facts(place: Place, sensors: CardSensors | None) -> tuple[dict[str, Any], Beyond]:
    """The card before and after the context, and cuBLAS's first products."""
    beyond = Beyond(place.device, sensors)
    others = sensors.idle_used_bytes if sensors is not None else None
    before = sensors.opened_used_bytes if sensors is not None else None
    make_context(place.device)
    beyond.growth_bytes()
    properties = torch.cuda.get_device_properties(place.device) if place.on_cuda else None
    facts = {
        "memory_bytes": properties and properties.total_memory,
        "multiprocessors": properties and properties.multi_processor_count,
        "l2_bytes": properties and properties.L2_cache_size,
        "memory_source": beyond.source if place.on_cuda else None,
        "others_bytes": others,
        "driver_bytes": None if before is None or others is None else before - others,
        "context_bytes": beyond.last_bytes - (before or 0) if place.on_cuda else None,
        "cublas_workspace_bytes": cublas_workspaces(place.device),
        "cublas_module_bytes": beyond.growth_bytes() if place.on_cuda else None,
    }
    return facts, beyond


def _wake(place: Place) -> None:
    """Keep the card busy until its clocks are up; it idles at a fraction of them."""
    if place.on_cuda:
        torch.cuda._sleep(_WAKE_CYCLES)  # noqa: SLF001 - no public name
        torch.cuda.synchronize(place.device)


def _run_suite(
    kernels: list[Kernel], place: Place, beyond: Beyond, budget: Budget, on_kernel: OnKernel | None
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    ends = time.perf_counter() + budget.suite_seconds
    for done, kernel in enumerate(kernels):
        if on_kernel is not None:
            on_kernel(done, len(kernels), kernel.name)
        if time.perf_counter() > ends:
            rows.append(kernel_row(kernel, reason="no time left") | {"module_bytes": None})
            continue
        row = run_kernel(kernel, place, budget.kernel_seconds)
        if row["reason"]:
            with suppress(RuntimeError):  # a kernel left the context broken: the rows that follow say so
                release(place.device)
        rows.append(row | {"module_bytes": _growth(place, beyond)})
    return rows


def _growth(place: Place, beyond: Beyond) -> int | None:
    if not place.on_cuda:
        return None
    try:
        return beyond.growth_bytes()
    except RuntimeError:  # as above
        return None


def _by_family(rows: list[dict[str, Any]]) -> dict[str, int]:
    """What the kernels of each family loaded onto the card; a family that shares another's loads less."""
    found: dict[str, int] = defaultdict(int)
    for row in rows:
        if row["module_bytes"]:
            found[row["name"].split(".")[0]] += row["module_bytes"]
    return dict(found)


def _watched(sensors: CardSensors | None) -> AbstractContextManager[Watch | None]:
    return sensors.watch() if sensors is not None else nullcontext()


@contextmanager
def _own_settings() -> Iterator[None]:
    """Torch's defaults for fp32 products: no TF32, whatever was set before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings while this is open: bitsandbytes has one for each product in bf16."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
