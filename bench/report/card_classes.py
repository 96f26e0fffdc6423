"""Classes of card by the size on their box, and what the smallest card of each surely gives."""

from functools import cache

from advisor.catalog.gpus import find_gpu, usable_bytes

# What people have; every one is a size that `--gpu` takes.
CLASSES_GB = (8, 12, 16, 24, 40, 48, 80)


@cache
def class_limits() -> tuple[tuple[int, int], ...]:
    """Each class and its usable bytes, smallest first."""
    return tuple((size, usable_bytes(find_gpu(f"{size}GB")[0])) for size in CLASSES_GB)


def fitting_class(reserved_bytes: int) -> str:
    """The smallest class whose usable memory holds so much."""
    fits = [size for size, usable in class_limits() if reserved_bytes <= usable]
    return f"{fits[0]} GB" if fits else f"over {CLASSES_GB[-1]} GB"
