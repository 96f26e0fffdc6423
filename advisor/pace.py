"""How fast a card and its host are: from the card's probe where there is one, else from its data sheet.

`catalog/pace.toml` has the shares of the sheet's rates that training reaches, each with its source.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

from advisor.profiles.folders import known_folders
from advisor.profiles.probe import Probe, ProbedKernel, read_probes
from advisor.records import GpuSpec
from advisor.replay.clock import CardPace, HostPace

_LARGE_PRODUCT = 1 << 37  # operations: enough to keep any card busy
_LARGE_COPY_BYTES = 1 << 28
_LARGE_TRANSFER_BYTES = 1 << 26
_TWO_SHAPES = 2  # to tell the time of operations from that of bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A card and a host, and how far the seconds may lie off, as factors."""

    card: CardPace
    host: HostPace
    fast_host: HostPace
    slow_host: HostPace
    low: float
    high: float
    probed: bool  # from a probe of this very card


def pace_of(gpu: GpuSpec) -> Pace:
    """The card's pace.

    Raises: AdvisorError where a probe in the profiles can't be read.
    """
    table = _table()
    row = next(r for r in table["capability"] if tuple(r["at"]) in (gpu.compute_capability, ()))
    probe = _probe_of(gpu)
    card = _from_sheet(gpu, row)
    measured = row.get("measured_host", False)
    host = _host(1.0 if measured else table["host"]["usual"])
    return Pace(
        card=card if probe is None else _from_probe(card, probe),
        host=host,
        fast_host=host if measured else _host(table["host"]["fastest"]),
        slow_host=host if measured else _host(table["host"]["slowest"]),
        low=row["low"],
        high=row["high"],
        probed=probe is not None,
    )


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("advisor.catalog").joinpath("pace.toml").read_text(encoding="utf-8"))


def _host(share: float) -> HostPace:
    row = _table()["host"]
    return HostPace(**{f.name: row[f.name] * share for f in fields(HostPace)})


def _from_sheet(gpu: GpuSpec, row: dict[str, Any]) -> CardPace:
    sustained = _table()["sustained"]
    matmul = gpu.matmul_flops_per_second * row["matmul"]
    memory = gpu.bandwidth_bytes_per_second * row["memory"]
    return CardPace(
        matmul=matmul,
        matmul_fp32=gpu.matmul_flops_per_second * row["fp32"],
        matmul_int8=matmul,
        memory=memory,
        cached=memory * sustained["cached"],
        cache_bytes=row["cache_bytes"],
        host_bus=_table()["bus"]["pinned"],
        dequantise=memory * sustained["dequantise"],
        optimizer_8bit=memory * sustained["optimizer_8bit"],
        attention={},
        attention_share=row["attention"],
        floor_seconds=row["floor_seconds"],
    )


def _probe_of(gpu: GpuSpec) -> Probe | None:
    """The newest whole probe of that card that nobody else disturbed."""
    found = [
        probe
        for folder in known_folders()
        for probe in read_probes(folder, card=gpu.slug)
        if not probe.quick and not probe.facts.get("shared")
    ]
    return max(found, key=lambda probe: probe.measured_at, default=None)


def _from_probe(sheet: CardPace, probe: Probe) -> CardPace:
    """The probe's rates, as far as a step keeps them up; the sheet's where the probe has none."""
    sustained = _table()["sustained"]

    def rate(kernels: Iterator[ProbedKernel], of: str, least: int) -> float | None:
        found = [
            getattr(kernel, of) / kernel.median_seconds
            for kernel in kernels
            if kernel.median_seconds and getattr(kernel, of) >= least
        ]
        return median(found) if found else None

    memory = rate(probe.find("copy.device"), "bytes", _LARGE_COPY_BYTES) or sheet.memory
    half = rate(probe.find("matmul.bf16"), "flops", _LARGE_PRODUCT)
    half = half or rate(probe.find("matmul.fp16"), "flops", _LARGE_PRODUCT)
    single = rate(probe.find("matmul.fp32"), "flops", _LARGE_PRODUCT)
    int8 = rate(probe.find("matmul.int8"), "flops", _LARGE_PRODUCT)
    return replace(
        sheet,
        matmul=half * sustained["matmul"] if half else sheet.matmul,
        matmul_fp32=single * sustained["matmul"] if single else sheet.matmul_fp32,
        matmul_int8=int8 * sustained["matmul"] if int8 else sheet.matmul_int8,
        memory=memory,
        cached=memory * sustained["cached"],
        dequantise=memory * sustained["dequantise"],
        optimizer_8bit=rate(probe.find("optimizer.adamw_8bit"), "bytes", _LARGE_COPY_BYTES)
        or sheet.optimizer_8bit,
        host_bus=rate(probe.find("copy.host_to_device", host="pinned"), "bytes", _LARGE_TRANSFER_BYTES)
        or sheet.host_bus,
        attention=_attention(probe, sustained["attention"]),
    )


def _attention(probe: Probe, sustained: float) -> dict[str, tuple[float, float]]:
    """Operations and bytes a second of each kernel, direction and head size that was probed at two lengths."""
    seen: dict[str, list[ProbedKernel]] = {}
    for kernel in probe.kernels:
        if kernel.name.startswith("attention.") and kernel.seconds and kernel.sizes.get("mask") == "causal":
            dtype = ".fp32" if kernel.sizes["dtype"] == "fp32" else ""
            seen.setdefault(f"{kernel.name}.{kernel.sizes['head_size']}{dtype}", []).append(kernel)
    rates = {name: _two_rates(kernels) for name, kernels in seen.items()}
    return {name: (pair[0] * sustained, pair[1]) for name, pair in rates.items() if pair is not None}


def _two_rates(kernels: list[ProbedKernel]) -> tuple[float, float] | None:
    """Time as operations over one rate and bytes over another: of the most and the least intense shape."""
    ranked = sorted(kernels, key=lambda k: k.flops / k.bytes)
    if len(ranked) < _TWO_SHAPES:
        return None
    low, high = ranked[0], ranked[-1]
    first, second = low.median_seconds or 0.0, high.median_seconds or 0.0
    determinant = low.flops * high.bytes - high.flops * low.bytes
    if not determinant:
        return None
    per_operation = (first * high.bytes - second * low.bytes) / determinant
    per_byte = (low.flops * second - high.flops * first) / determinant
    if per_operation <= 0:
        return None
    return 1 / per_operation, 1 / max(per_byte, 1e-15)
