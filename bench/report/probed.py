"""What `advisor probe` found of the card itself: the memory that is never the allocator's, and the rates of its kernels."""

from itertools import groupby

from advisor.pictures.document import Cell, Group, Missing, Section, Table, columns, text
from advisor.profiles.probe import Probe, ProbedKernel
from advisor.records import GpuSpec
from advisor.units import mib
from advisor.units import size as size_words
from bench.probe_view import computes, memory_facts, rate
from bench.report.reading import CardRows

_TITLE = "The card itself"
_SIXTEEN_BITS = ("bf16", "fp16")
_FAMILIES = {
    "launch": "Launching, the host's time",
    "sync": "Waiting for the card",
    "copy": "Copies",
    "matmul": "Matrix products",
    "linear": "Quantised layers of bitsandbytes",
    "dequantise": "Unpacking quantised weights",
    "quantise": "Quantising",
    "attention": "Attention",
}
_OTHERS = "Other kernels"
_MEMORY_CAPTION = (
    "What of the card's memory is not the allocator's own choice, and what predictions take for it: their context has the "
    "modules of a training step in it."
)
_KERNELS_CAPTION = (
    "Of each kernel and dtype the largest size that was probed: its rate, and how much that is of the data sheet's "
    "16-bit matmul rate or bandwidth, whichever it is judged by. Inside: the most that a call holds beyond its result. "
    "Elementwise kernels of that size come from memory, not from the cache."
)


def probed(card: CardRows) -> Section | Missing:
    """The newest probe of the card that nobody disturbed."""
    alone = [probe for probe in card.probes if not probe.facts.get("shared")]
    if not alone:
        return Missing(title=_TITLE, why="no probe; `advisor probe` makes one")
    probe = max(alone, key=lambda one: (not one.quick, one.measured_at))
    return Section(name="probe", title=_TITLE, blocks=(_memory(card.card, probe), _kernels(card.card, probe)))


def _memory(gpu: GpuSpec, probe: Probe) -> Table:
    known = {"CUDA context": gpu.context_bytes, "kept by the driver": gpu.driver_bytes}
    workspaces = {f"cuBLAS workspace, {name}": gpu.cublas_workspace_bytes for name in ("forward", "backward")}
    rows = (
        (text(name), _size(size), _size((known | workspaces).get(name))) for name, size in memory_facts(probe)
    )
    return Table(
        name="probe-memory",
        caption=f"{_MEMORY_CAPTION} Probed on {probe.measured_at[:10]}, {probe.environment}.",
        columns=columns("Memory", numeric=("Probed", "In the catalog")),
        groups=(Group(rows=tuple(rows)),),
    )


def _kernels(gpu: GpuSpec, probe: Probe) -> Table:
    order = list(_FAMILIES.values())
    found = sorted(_largest(probe), key=lambda one: ([*order, _OTHERS].index(_family(one)), one.name))
    return Table(
        name="probe-kernels",
        caption=_KERNELS_CAPTION,
        columns=columns("Kernel", numeric=("Rate", "Of the sheet", "One call", "Inside"), after=("At",)),
        groups=tuple(
            Group(title=family, rows=tuple(_line(gpu, kernel) for kernel in kernels))
            for family, kernels in groupby(found, key=_family)
        ),
    )


def _largest(probe: Probe) -> list[ProbedKernel]:
    """Of each name and dtype the size with the most work, measured."""
    found: dict[tuple[str, object], ProbedKernel] = {}
    for kernel in probe.kernels:
        key = (kernel.name, kernel.sizes.get("dtype"))
        if kernel.seconds and (key not in found or _work(kernel) > _work(found[key])):
            found[key] = kernel
    return list(found.values())


def _work(kernel: ProbedKernel) -> tuple[int, int]:
    return kernel.flops, kernel.bytes


def _family(kernel: ProbedKernel) -> str:
    return _FAMILIES.get(kernel.name.split(".")[0], _OTHERS)


def _line(gpu: GpuSpec, kernel: ProbedKernel) -> tuple[Cell, ...]:
    share, inside = _share(gpu, kernel), kernel.inside_bytes
    sizes = (f"{name.replace('_', ' ')} {_shown(name, value)}" for name, value in kernel.sizes.items())
    return (
        text(kernel.name),
        text(rate(kernel)) if kernel.bytes else Cell(),
        Cell() if share is None else text(f"{share:.0%}"),
        text(f"{(kernel.median_seconds or 0.0) * 1e6:,.1f} µs"),
        _size(inside),
        Cell(lines=(", ".join(sizes),), kind="words"),
    )


def _shown(name: str, value: int | str) -> str:
    if isinstance(value, str):
        return value
    return size_words(value) if name == "bytes" else f"{value:,}"


def _share(gpu: GpuSpec, kernel: ProbedKernel) -> float | None:
    """Of the data sheet; None where the sheet says nothing of it: other dtypes, and the host's memory."""
    seconds, names = kernel.median_seconds, {*kernel.name.split("."), kernel.sizes.get("dtype")}
    if not seconds or not kernel.bytes or "host" in kernel.sizes:
        return None
    if not computes(kernel):
        return kernel.bytes / seconds / gpu.bandwidth_bytes_per_second
    if not names & set(_SIXTEEN_BITS) or "int8" in kernel.name:
        return None
    return kernel.flops / seconds / gpu.matmul_flops_per_second


def _size(size: int | None) -> Cell:
    return Cell() if size is None else text(mib(size))
