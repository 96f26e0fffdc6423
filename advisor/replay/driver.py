"""What the driver maps beside torch's segments, and when a program makes it do so: `driver.toml`."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.records import Method, Precision
from advisor.tape.events import Event, Op
from advisor.tape.record import Label, Tape
from advisor.units import MIB

CONTEXT = "context"
_WEIGHT, _KERNEL = "first quantised weight", "first kernel"
_FORWARD, _ATTENTION = "first forward", "first attention"
_PRODUCTS = ("first product", "first product of backward")  # each makes a cuBLAS handle
_HANDLE = "cublas handle"
# Ops that launch nothing while a model loads: what the recorder calls the loader's own, room, and copies from the host.
_WITHOUT_KERNEL = ("loader warm-up", "aten::empty", "aten::_to_copy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One thing that the driver maps, or gives back."""

    moment: str
    size_bytes: int = 0
    name: str = ""  # of what will be given back
    returns: str = ""  # the name of what is given back


@dataclass(frozen=True, slots=True)
class Driver:
    """Everything that the driver maps for itself; nothing where that was not measured."""

    mappings: tuple[Mapping, ...] = ()

    def at(self, moment: str) -> Iterator[Mapping]:
        """What it does then, in order."""
        return (each for each in self.mappings if each.moment == moment)


@cache
def driver_of(compute_capability: tuple[int, int], method: Method, precision: Precision) -> Driver:
    """The driver's own mappings on such a card, in a run of that kind."""
    return Driver(
        tuple(
            Mapping(
                moment=row["moment"],
                size_bytes=row.get("mib", 0) * MIB,
                name=row.get("name", ""),
                returns=row.get("returns", ""),
            )
            for card in _cards()
            if list(compute_capability) in card["capabilities"]
            for row in card["mapping"]
            if method.value in row.get("methods", [method.value])
            and precision.value in row.get("precisions", [precision.value])
        )
    )


def moments(tape: Tape, requests: Iterable[Event]) -> Iterator[tuple[int, str]]:
    """Before which requests the driver acts: their indices, ascending, and the moments."""
    of_label = [_moment(label) for label in tape.labels]
    waiting = {_WEIGHT, _KERNEL, _FORWARD, _ATTENTION}
    products = list(_PRODUCTS)
    for index, (kind, a, _, _, label) in enumerate(requests):
        if kind == Op.PHASE:
            found = _FORWARD if tape.phases[a] == "forward" else ""
        elif kind in (Op.ALLOC, Op.TOUCH):
            found = of_label[label]
        else:
            continue
        if found == _HANDLE:
            yield index, products.pop(0)
            if not products:
                return  # everything else came before
        elif found in waiting:
            waiting.remove(found)
            yield index, found


def _moment(label: Label) -> str:
    if label.op == _HANDLE:
        return _HANDLE
    if "scaled_dot_product" in label.op:
        return _ATTENTION
    if not label.op.startswith(_WITHOUT_KERNEL):
        return _KERNEL
    return _WEIGHT if label.category == "quantisation state" else ""


@cache
def _cards() -> list[dict[str, Any]]:
    text = files("advisor.replay").joinpath("driver.toml").read_text(encoding="utf-8")
    cards: list[dict[str, Any]] = tomllib.loads(text)["card"]
    return cards
