"""Cards by name, by alias or by size; what had to be assumed comes with the card."""

import re
from collections.abc import Iterable
from functools import cache

from advisor.catalog.classes import gpu_rule
from advisor.catalog.gpu_table import read_gpus
from advisor.catalog.names import key, natural_order, shorter_names, shown
from advisor.errors import AdvisorError, unknown_name
from advisor.records import GpuSpec
from advisor.units import gib

_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)gi?b?")  # of a key, which has no spaces and no capitals
_LONGEST = 100  # characters; no card's name is half as long
_FIX = "`advisor show gpus` lists the cards; a size such as 16GB also does"


def find_gpu(text: str) -> tuple[GpuSpec, list[str]]:
    """The card behind a catalog name, a driver's name, an alias or a size, and what was assumed.

    Raises: AdvisorError with the nearest names where there is none.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise AdvisorError(f"{shown(text)} is not the name of a card.", fix=_FIX)
    asked = key(text)
    if cards := _cards_by_key().get(asked):
        return _of_that_name(text, cards)
    if size := _SIZE.fullmatch(asked):
        return _of_that_size(text, float(size[1]))
    known = (name.lower() for gpu in all_gpus() for name in (gpu.slug, gpu.name, *gpu.aliases))
    raise unknown_name("GPU", text, set(known), fix=_FIX)


@cache
def all_gpus() -> tuple[GpuSpec, ...]:
    """Every card of the catalog: by vendor, then by architecture, then by size."""
    return read_gpus()


def gpu_by_device_name(name: str, memory_bytes: int | None = None) -> GpuSpec | None:
    """The card that reports itself under that name, or None where the catalog has none.

    Cards of two sizes may share a name: the one nearest to `memory_bytes` is given, or the smaller.
    """
    same = [gpu for gpu in all_gpus() if gpu.name.casefold() == name.strip().casefold()]
    return min(same, key=lambda gpu: abs(gpu.memory_bytes - (memory_bytes or 0)), default=None)


def usable_bytes(gpu: GpuSpec) -> int:
    """What the allocator surely gets: the memory less the context and the doubt about it."""
    return gpu.memory_bytes - gpu.context_bytes - gpu.context_uncertainty_bytes


@cache
def _cards_by_key() -> dict[str, tuple[GpuSpec, ...]]:
    """Cards by every spelling of every name; a catalog name means its card alone."""
    found: dict[str, list[GpuSpec]] = {}
    for gpu in all_gpus():
        names = (*shorter_names(gpu.name), *gpu.aliases)
        for spelling in dict.fromkeys(map(key, names)):
            found.setdefault(spelling, []).append(gpu)
    return {k: tuple(v) for k, v in found.items()} | {key(gpu.slug): (gpu,) for gpu in all_gpus()}


def _of_that_name(text: str, cards: tuple[GpuSpec, ...]) -> tuple[GpuSpec, list[str]]:
    card = _least(cards)
    if len(cards) == 1:
        return card, []
    names = _listed(gpu.slug for gpu in cards)
    least = f"the least usable memory of the {len(cards)} cards of that name: {gib(usable_bytes(card))}"
    return card, [f'"{text}" stands for {card.slug}, {least} ({names})']


def _of_that_size(text: str, size: float) -> tuple[GpuSpec, list[str]]:
    cards = _sizes().get(int(size), ()) if size.is_integer() else ()
    if not cards:
        raise _no_such_size(text, size)
    card = _least(cards)
    why = f"the least usable memory of the {len(cards)} cards of that class"
    if len(cards) == 1:
        why = "the only card of that class"
    return card, [f'"{text}" stands for {_label(card)}, {why}: {gib(usable_bytes(card))}']


@cache
def _sizes() -> dict[int, tuple[GpuSpec, ...]]:
    """Cards by class, without those that may not stand for one; smallest class first."""
    found: dict[int, list[GpuSpec]] = {}
    for gpu in sorted(filter(gpu_rule().lets_in, all_gpus()), key=lambda gpu: gpu.class_gb):
        found.setdefault(gpu.class_gb, []).append(gpu)
    return {size: tuple(cards) for size, cards in found.items()}


def _no_such_size(text: str, size: float) -> AdvisorError:
    below, above = [s for s in _sizes() if s < size], [s for s in _sizes() if s > size]
    near = ((s, _least(_sizes()[s])) for s in (*below[-1:], *above[:1]))
    why = "nearest sizes: " + _listed(f"{s}GB ({card.slug})" for s, card in near)
    unfit = [gpu.slug for gpu in all_gpus() if gpu.class_gb == size]
    if unfit:
        why += f"; {_listed(unfit)} must be named, for no rule lets them stand for their size"
    return AdvisorError(f"No card of the catalog stands for {text!r}.", why=why, fix=_FIX)


def _least(cards: Iterable[GpuSpec]) -> GpuSpec:
    return min(cards, key=lambda gpu: (usable_bytes(gpu), natural_order(gpu.slug)))


def _label(gpu: GpuSpec) -> str:
    """The driver's name; with the catalog's where another card has the same."""
    alone = sum(other.name == gpu.name for other in all_gpus()) == 1
    return gpu.name if alone else f"{gpu.name} ({gpu.slug})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
