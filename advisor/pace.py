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

from advisor.least_squares import fit_parts
from advisor.profiles.folders import known_folders
from advisor.profiles.probe import Probe, ProbedKernel, read_probes
from advisor.records import GpuSpec
from advisor.replay.clock import AttentionPace, CardPace, HostPace

_LARGE_PRODUCT = 1 << 37  # operations: enough to keep any card busy
_LARGE_COPY_BYTES = 1 << 28
_LARGE_TRANSFER_BYTES = 1 << 26
_TERA, _GIGA = 1e-12, 1e-9  # so that the numbers of a fit are of one size


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
    fitted: bool  # to published rows of such cards; else of the data sheet alone


def pace_of(gpu: GpuSpec) -> Pace:
    """The card's pace.

    Raises: AdvisorError where a probe in the profiles can't be read.
    """
    table = _table()
    row = next(r for r in table["capability"] if tuple(r["at"]) in (gpu.compute_capability, ()))
    probe = _probe_of(gpu)
    card = _from_sheet(gpu, row)
    fast, usual, slow = table["host"]["unknown"]
    if probe is not None or row.get("measured_host", False):
        usual = 1.0 if probe is None else _host_share(probe)
        fast, slow = (usual * share for share in table["host"]["known"])
    return Pace(
        card=card if probe is None else _from_probe(card, probe),
        host=_host(usual),
        fast_host=_host(fast),
        slow_host=_host(slow),
        low=row["low"],
        high=row["high"],
        probed=probe is not None,
        fitted=bool(row.get("fitted", False)),
    )


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("advisor.catalog").joinpath("pace.toml").read_text(encoding="utf-8"))


def _host(share: float) -> HostPace:
    row = _table()["host"]
    return HostPace(**{f.name: row[f.name] for f in fields(HostPace)}).times(share)


def _host_share(probe: Probe) -> float:
    """How much longer the probe's host takes than the one whose times the table has."""
    layer = next(iter(probe.find("launch.layer_forward_backward")), None)
    if layer is None or not layer.median_seconds:
        return 1.0
    host = _table()["host"]
    return float((layer.median_seconds / host["layer_seconds"]) ** host["layer_exponent"])


def _from_sheet(gpu: GpuSpec, row: dict[str, Any]) -> CardPace:
    sustained = _table()["sustained"]
    matmul = gpu.matmul_flops_per_second * row["matmul"]
    memory = gpu.bandwidth_bytes_per_second * row["memory"]
    return CardPace(
        matmul=matmul,
        matmul_fp32=gpu.matmul_flops_per_second * row["fp32"],
        matmul_int8=matmul,
        cache_bytes=row["cache_bytes"],
        host_bus=_table()["bus"]["pinned"],
        optimizer_8bit=memory * sustained["optimizer_8bit"],
        attention={},
        attention_share=row["attention"],
        floor_seconds=row["floor_seconds"],
        gap_seconds=sustained["gap_seconds"],
        int8_unseen=sustained["int8_unseen"],
        **_moving(memory),
    )


def _moving(memory: float) -> dict[str, Any]:
    """The rates of what only moves bytes, of the rate of a plain copy."""
    sustained = _table()["sustained"]
    return {
        "memory": memory * sustained["elementwise"],
        **{
            name: memory * sustained[name]
            for name in ("cached", "triton", "copy", "copy_cached", "dequantise", "quantise")
        },
    }


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

    memory = rate(probe.find("copy.device"), "bytes", _LARGE_COPY_BYTES)
    half = rate(probe.find("matmul.bf16"), "flops", _LARGE_PRODUCT)
    half = half or rate(probe.find("matmul.fp16"), "flops", _LARGE_PRODUCT)
    single = rate(probe.find("matmul.fp32"), "flops", _LARGE_PRODUCT)
    int8 = rate(probe.find("matmul.int8"), "flops", _LARGE_PRODUCT)
    return replace(
        sheet,
        matmul=half * sustained["matmul"] if half else sheet.matmul,
        matmul_fp32=single * sustained["matmul"] if single else sheet.matmul_fp32,
        matmul_int8=int8 * sustained["matmul"] if int8 else sheet.matmul_int8,
        optimizer_8bit=rate(probe.find("optimizer.adamw_8bit"), "bytes", _LARGE_COPY_BYTES)
        or sheet.optimizer_8bit,
        host_bus=rate(probe.find("copy.host_to_device", host="pinned"), "bytes", _LARGE_TRANSFER_BYTES)
        or sheet.host_bus,
        attention=_attention(probe),
        **(_moving(memory) if memory else {}),
    )


def _attention(probe: Probe) -> dict[str, AttentionPace]:
    """Of each kernel, direction and head size that was probed at several sizes."""
    seen: dict[str, list[ProbedKernel]] = {}
    for kernel in probe.kernels:
        if (
            kernel.name.startswith("attention.")
            and kernel.median_seconds
            and kernel.sizes.get("mask") == "causal"
        ):
            dtype = ".fp32" if kernel.sizes["dtype"] == "fp32" else ""
            seen.setdefault(f"{kernel.name}.{kernel.sizes['head_size']}{dtype}", []).append(kernel)
    return {name: _fitted(kernels) for name, kernels in seen.items() if len({k.flops for k in kernels}) > 1}


def _fitted(kernels: list[ProbedKernel]) -> AttentionPace:
    """The parts, none below zero, that tell the probed seconds best."""
    rows = [(1.0, kernel.flops * _TERA, kernel.bytes * _GIGA) for kernel in kernels]
    seconds = [kernel.median_seconds or 0.0 for kernel in kernels]
    launch, operation, byte = fit_parts(rows, seconds)
    return AttentionPace(launch, operation * _TERA, byte * _GIGA)
