"""A real history beside the simulated run of the same config: what agrees in order and size, and what does not."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.events.align import aligned
from bench.events.history import ALLOC, SEGMENT, Happening
from bench.events.simulated import Asked, Run

MISSING, EXTRA, ORDER = "real only", "simulated only", "other order"


class _Lone(NamedTuple):
    """One thing that stands in one of the two sequences only."""

    where: str
    kind: str
    size_bytes: int
    step: int
    phase: str
    op: str  # that asked for it, or where only the real run did, the one that asked before it in the simulated run


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Things that differ alike: in which way, and near which op."""

    where: str
    phase: str
    op: str
    count: int
    size_bytes: int  # of all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Bytes asked for and given back within one stretch of the run."""

    real_bytes: int
    simulated_bytes: int
    agreeing_bytes: int
    real_count: int
    agreeing_count: int

    @property
    def share(self) -> float:
        """Of the bytes of either run, whichever moves more, those that agree in order and size."""
        return self.agreeing_bytes / max(self.real_bytes, self.simulated_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The whole run, its last step, and everything that differs."""

    run: Agreement
    step: Agreement
    differences: tuple[Difference, ...]  # most bytes first
    moments: tuple[tuple[int, str], ...]  # those of the simulated run, by the index of a real happening
    end: int  # happenings until the last one that agrees


def compare(real: Sequence[Happening], run: Run) -> Comparison:
    """Real happenings, segments left out, beside what the simulated run asks."""
    at = [index for index, each in enumerate(real) if each.kind != SEGMENT]
    left = [real[index] for index in at]
    pairs = aligned([each[:2] for each in left], [each[:2] for each in run.asked])
    partner = dict(pairs)
    told = _told(left, partner, run.asked)
    matched = {y for _, y in pairs}
    extra = [_Lone(EXTRA, e.kind, e.size_bytes, e.step, e.phase, e.op) for e in _others(run.asked, matched)]
    missing = [_Lone(MISSING, e.kind, e.size_bytes, *told[x]) for x, e in enumerate(left) if x not in partner]
    last = run.asked[-1].step
    return Comparison(
        run=_agreement(left, pairs, run.asked),
        step=_agreement(
            [e for e, (step, _, _) in zip(left, told, strict=True) if step == last],
            [(x, y) for x, y in pairs if run.asked[y].step == last],
            [e for e in run.asked if e.step == last],
            pool=run.asked,
        ),
        differences=_grouped(_without_order(missing, extra)),
        moments=_moments(pairs, at, run),
        end=at[pairs[-1][0]] + 1,
    )


def _told(
    left: Sequence[Happening], partner: dict[int, int], asked: Sequence[Asked]
) -> list[tuple[int, str, str]]:
    """Step, phase and op of each real happening.

    One without a partner is told by the one before; what is asked for where a phase ends, by the one behind.
    """
    at = sorted(partner)
    found = []
    for x, (kind, _, _) in enumerate(left):
        i = bisect_right(at, x)
        before, after = asked[partner[at[max(i - 1, 0)]]], asked[partner[at[min(i, len(at) - 1)]]]
        borders = x not in partner and kind == ALLOC and before.phase != after.phase
        each = after if borders else before
        found.append((each.step, each.phase, each.op))
    return found


def _others(asked: Sequence[Asked], matched: set[int]) -> Iterable[Asked]:
    return (each for y, each in enumerate(asked) if y not in matched)


def _agreement(
    left: Sequence[Happening],
    pairs: Sequence[tuple[int, int]],
    asked: Sequence[Asked],
    pool: Sequence[Asked] | None = None,
) -> Agreement:
    """`pool`: what the second index of a pair counts in, where that is not `asked`."""
    return Agreement(
        real_bytes=sum(each.size_bytes for each in left),
        simulated_bytes=sum(each.size_bytes for each in asked),
        agreeing_bytes=sum((pool or asked)[y].size_bytes for _, y in pairs),
        real_count=len(left),
        agreeing_count=len(pairs),
    )


def _without_order(missing: Sequence[_Lone], extra: Sequence[_Lone]) -> list[_Lone]:
    """The same things, where those that both runs do in one phase of one step count once, as in another order."""
    waiting: defaultdict[tuple[object, ...], list[_Lone]] = defaultdict(list)
    for each in extra:
        waiting[each[1:5]].append(each)
    found = []
    for each in missing:
        same = waiting[each[1:5]]
        found.append(same.pop()._replace(where=ORDER) if same else each)
    return found + [each for rest in waiting.values() for each in rest]


def _grouped(lone: Iterable[_Lone]) -> tuple[Difference, ...]:
    counts: Counter[tuple[str, str, str]] = Counter()
    sizes: Counter[tuple[str, str, str]] = Counter()
    for each in lone:
        group = each.where, each.phase, each.op
        counts[group] += 1
        sizes[group] += each.size_bytes
    return tuple(
        Difference(where=group[0], phase=group[1], op=group[2], count=counts[group], size_bytes=total)
        for group, total in sizes.most_common()
    )


def _moments(pairs: Sequence[tuple[int, int]], at: Sequence[int], run: Run) -> tuple[tuple[int, str], ...]:
    found = []
    for index, moment in run.moments:
        x = next((x for x, y in pairs if y >= index), None)
        if x is not None:
            found.append((at[x], moment))
    return tuple(found)
