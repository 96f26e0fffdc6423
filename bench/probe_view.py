"""A probe as a person reads it: what the card holds, then the best rate of each kernel."""

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advisor.profiles.probe import Probe, ProbedKernel
from advisor.units import mib

_FEW_FLOPS_A_BYTE = 10  # below, a kernel is judged by the bytes that it moves
_MEMORY = {
    "driver_bytes": "kept by the driver",
    "others_bytes": "held by others",
    "context_bytes": "CUDA context",
    "cublas_module_bytes": "cuBLAS, loaded",
    "beyond_allocator_bytes": "on the card beyond the allocator, at the end",
}


def probe_view(probe: Probe) -> RenderableType:
    """Two tables; the row itself has every size and sample."""
    parts: list[RenderableType] = [Text(probe.card, style="bold"), _memory(probe), Text(), _kernels(probe)]
    missing = sorted({f"{kernel.name}: {kernel.reason}" for kernel in probe.kernels if kernel.reason})
    if missing:
        parts += [Text("\nNot measured", style="bold"), *(Text(f"  {line}") for line in missing)]
    return Group(*parts)


def memory_facts(probe: Probe) -> Iterator[tuple[str, int | None]]:
    """What lies on the card beside the allocator's blocks, and what cuBLAS keeps in them, by name."""
    for key, name in _MEMORY.items():
        yield name, probe.facts.get(key)
    for name, size in probe.facts.get("cublas_workspace_bytes", {}).items():
        yield f"cuBLAS workspace, {name.replace('_', ' ')}", size
    for name, size in probe.facts.get("module_bytes", {}).items():
        yield f"loaded by {name.replace('_', ' ')}", size


def computes(kernel: ProbedKernel) -> bool:
    """Whether it is judged by its operations, not by the bytes that it moves."""
    return kernel.flops > _FEW_FLOPS_A_BYTE * kernel.bytes


def rate(kernel: ProbedKernel) -> str:
    """The median's rate: TFLOP/s where it computes, GB/s where it moves memory, else the time of a call."""
    seconds = kernel.median_seconds
    if seconds is None:
        return "-"
    if computes(kernel):
        return f"{kernel.flops / seconds / 1e12:,.1f} TFLOP/s"
    if kernel.bytes:
        return f"{kernel.bytes / seconds / 1e9:,.0f} GB/s"
    return f"{seconds * 1e6:,.1f} µs"


def _memory(probe: Probe) -> Table:
    table = _grid("", "MiB")
    for name, size in memory_facts(probe):
        table.add_row(name, "-" if size is None else mib(size))
    return table


def _kernels(probe: Probe) -> Table:
    table = _grid("kernel", "best rate", "one call", "inside", "at")
    for kernel in _best(probe.kernels):
        inside = kernel.inside_bytes
        table.add_row(
            kernel.name,
            rate(kernel),
            f"{(kernel.median_seconds or 0) * 1e6:,.1f} µs",
            "-" if inside is None else mib(inside),
            " ".join(f"{name}={value}" for name, value in kernel.sizes.items()),
        )
    return table


def _best(kernels: Iterable[ProbedKernel]) -> Iterator[ProbedKernel]:
    """Of each name and dtype the size with the highest rate."""
    found: dict[tuple[str, object], ProbedKernel] = {}
    for kernel in kernels:
        key = (kernel.name, kernel.sizes.get("dtype"))
        if kernel.seconds and (key not in found or _speed(kernel) > _speed(found[key])):
            found[key] = kernel
    yield from found.values()


def _speed(kernel: ProbedKernel) -> float:
    """Work a second: what the kernel is judged by."""
    work = kernel.flops if computes(kernel) else kernel.bytes
    return (work or 1) / (kernel.median_seconds or 1)


def _grid(*titles: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        right = title in {"MiB", "best rate", "one call", "inside"}
        table.add_column("" if title == "MiB" else title, justify="right" if right else "left")
    return table
