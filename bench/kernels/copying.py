"""Copies: within the card's memory, and between it and the host's."""

from collections.abc import Iterator

import torch

from advisor.units import GIB, MIB
from bench.kernels.kernel import Call, Kernel, Place

_ON_CARD = (MIB, 8 * MIB, 64 * MIB, 256 * MIB, GIB)  # the first stay in the L2 cache of most cards
_WITH_HOST = (MIB, 16 * MIB, 64 * MIB)


def copies(place: Place) -> Iterator[Kernel]:
    """Every copy; one that stays on the card reads and writes its bytes, the others cross the bus once."""
    for full in _ON_CARD:
        yield _copy(place, "copy.device", place.area(full), quick=full == GIB)
    for full in _WITH_HOST:
        size = place.area(full)
        yield _host_copy(place, "copy.host_to_device", size, pinned=True, quick=full == _WITH_HOST[-1])
        yield _host_copy(place, "copy.device_to_host", size, pinned=True, quick=full == _WITH_HOST[-1])
    yield _host_copy(place, "copy.host_to_device", place.area(_WITH_HOST[-1]), pinned=False)


def _copy(place: Place, name: str, size: int, *, quick: bool) -> Kernel:
    def make() -> Call:
        source = place.random(size // 4, dtype="fp32")
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    return Kernel(name=name, sizes={"bytes": size}, make=make, bytes=2 * size, quick=quick)


def _host_copy(place: Place, name: str, size: int, *, pinned: bool, quick: bool = False) -> Kernel:
    def make() -> Call:
        place.need_cuda()
        on_host = torch.zeros(size, dtype=torch.uint8, pin_memory=pinned)
        on_card = torch.zeros(size, dtype=torch.uint8, device=place.device)
        to, source = (on_card, on_host) if name == "copy.host_to_device" else (on_host, on_card)
        return lambda: to.copy_(source, non_blocking=pinned)

    sizes = {"bytes": size, "host": "pinned" if pinned else "pageable"}
    return Kernel(name=name, sizes=sizes, make=make, bytes=size, quick=quick)
