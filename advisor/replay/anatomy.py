"""What lies in memory, and when: the peak by category, module and op, and the height of each moment."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from advisor.replay.blocks import rounded
from advisor.replay.memory import Outcome, Program, live_at_peak
from advisor.replay.shape import Shape, sizes_bytes
from advisor.tape.events import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Buffers alive at the peak that have one label."""

    category: str
    module: str  # as transformers names it, with `*` for the layer's number; empty where it is not known
    op: str
    count: int
    size_bytes: int  # of all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The largest sum of buffers within one stretch of the run."""

    phase: str
    allocated_bytes: int
    category_bytes: dict[str, int]  # of what it is the sum


def shares_at_peak(made: Program, shape: Shape, outcome: Outcome) -> tuple[Share, ...]:
    """What is alive at the allocated peak, largest first."""
    counts: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    for label, size_bytes in live_at_peak(made, shape, outcome):
        counts[label] += 1
        totals[label] += size_bytes
    return tuple(_share(made, label, counts[label], total) for label, total in totals.most_common())


def _share(made: Program, label: int, count: int, size_bytes: int) -> Share:
    known = made.tape.labels[label]
    return Share(
        category=known.category, module=known.module, op=known.op, count=count, size_bytes=size_bytes
    )


def timeline(made: Program, shape: Shape, stretches: int) -> tuple[Moment, ...]:
    """The run cut into so many stretches of as many requests, each with its highest moment.

    Stretches are equal in requests to the allocator, not in seconds. Loading is left out: its requests are many.
    """
    sizes = [rounded(size) for size in sizes_bytes(made.tape, shape)]
    heights = [height for height in _heights(made, sizes) if height.phase != "load"]
    each = max(1, -(-len(heights) // stretches))
    cut = [heights[start : start + each] for start in range(0, len(heights), each)]
    highest = [max(part, key=lambda height: height.bytes) for part in cut]
    alive = _categories(made, sizes, {height.request for height in highest})
    return tuple(
        Moment(phase=height.phase, allocated_bytes=height.bytes, category_bytes=alive[height.request])
        for height in highest
    )


class _Height(NamedTuple):
    request: int  # index of the request that reached it
    phase: str
    bytes: int


def _heights(made: Program, sizes: list[int]) -> Iterator[_Height]:
    live: dict[int, int] = {}
    now, phase = 0, ""
    for index, (kind, slot, size, _, _) in enumerate(made.requests[: made.counted]):
        if kind == Op.ALLOC:
            live[slot] = sizes[size]
            now += sizes[size]
            yield _Height(index, phase, now)
        elif kind == Op.TOUCH:
            yield _Height(index, phase, now + sizes[size])
        elif kind == Op.FREE:
            now -= live.pop(slot)
        else:
            phase = made.tape.phases[slot]


def _categories(made: Program, sizes: list[int], at: set[int]) -> dict[int, dict[str, int]]:
    """Bytes by category just after each of those requests; a category that holds nothing is left out."""
    names = [label.category for label in made.tape.labels]
    live: dict[int, tuple[str, int]] = {}
    totals: Counter[str] = Counter()
    found: dict[int, dict[str, int]] = {}
    for index, (kind, slot, size, _, label) in enumerate(made.requests):
        if kind == Op.ALLOC:
            live[slot] = (names[label], sizes[size])
            totals[names[label]] += sizes[size]
        elif kind == Op.FREE:
            name, held = live.pop(slot)
            totals[name] -= held
        if index in at:
            touched = Counter({names[label]: sizes[size]}) if kind == Op.TOUCH else Counter[str]()
            found[index] = dict(+(totals + touched))
    return found
