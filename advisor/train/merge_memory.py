"""What merging takes of main memory, told from the headers of the files, and what it took."""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from advisor.errors import AdvisorError, ExitCode
from advisor.merging import merge_bytes
from advisor.units import gib


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """What merging takes, from the files' headers alone; bytes of main memory, for it runs on the CPU."""

    dtype: torch.dtype
    weights_bytes: int  # of the base, in that dtype
    adapter_bytes: int
    largest_matrix: int  # numbers in it
    available_bytes: int

    @property
    def peak_bytes(self) -> int:
        """What `merging.py` says of it."""
        return merge_bytes(
            weights_bytes=self.weights_bytes,
            adapter_bytes=self.adapter_bytes,
            largest_matrix=self.largest_matrix,
            item_bytes=self.dtype.itemsize,
        )


def plan_merge(weights: Path, adapter: Path, dtype: torch.dtype) -> MergePlan:
    """What merging the adapter into the weights takes; no weight is read.

    Raises: AdvisorError where a file is no safetensors file.
    """
    sizes = [size for path in sorted(weights.glob("*.safetensors")) for size in _sizes(path)]
    total = sum(numbers for numbers, _ in sizes) * dtype.itemsize
    largest = max((numbers for numbers, is_matrix in sizes if is_matrix), default=0)
    return MergePlan(
        dtype=dtype,
        weights_bytes=total,
        adapter_bytes=(adapter / "adapter_model.safetensors").stat().st_size,
        largest_matrix=largest,
        available_bytes=_available_bytes(),
    )


def check_memory(planned: MergePlan) -> None:
    """Refuse what would swap for hours.

    Raises: AdvisorError where less main memory is free than merging takes.
    """
    if planned.peak_bytes > planned.available_bytes:
        raise AdvisorError(
            "Too little main memory is free to merge.",
            why=f"it takes {gib(planned.peak_bytes)}, {gib(planned.available_bytes)} are free",
            fix="merge on a machine with more; the adapter can also be used as it is, beside its base",
            exit_code=ExitCode.ENVIRONMENT,
        )


def _sizes(path: Path) -> list[tuple[int, bool]]:
    """Of every tensor in the file: how many numbers, and whether it is a matrix."""
    try:
        with safe_open(str(path), framework="pt") as stream:
            shapes = [stream.get_slice(name).get_shape() for name in stream.keys()]  # noqa: SIM118 - no dict
    except (OSError, SafetensorError) as error:
        raise AdvisorError(f"{path} is no safetensors file.", why=str(error)) from error
    return [(prod(shape), len(shape) == 2) for shape in shapes]


def _available_bytes() -> int:
    """Main memory that may be taken; all of it where the system does not say what is free."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(slots=True)
class Peak:
    """The largest resident memory at the moments at which somebody looked."""

    bytes: int = 0

    def look(self) -> None:
        """Now."""
        self.bytes = max(self.bytes, resident_bytes())


def resident_bytes() -> int:
    """Main memory that this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
