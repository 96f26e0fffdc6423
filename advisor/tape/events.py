"""What a tape is a list of, and how a part of it is repeated: the events of a step, in order."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from advisor.errors import AdvisorError, ExitCode

NO_PART = -1


class Op(IntEnum):
    """What an event does; `Event.a` and `Event.b` mean what the comment says."""

    ALLOC = 0  # a: slot, b: index into sizes
    FREE = 1  # a: slot
    PHASE = 2  # a: index into phases
    KERNEL = 3  # a: index into kernels
    TOUCH = 4  # as ALLOC, and freed at once; only in a brief tape, see `replay/brief.py`


class Event(NamedTuple):
    """One thing that happened, and the part of the model that it belongs to."""

    op: int
    a: int
    b: int
    part: int  # a decoder layer, a tile of the loss (from TILES), or NO_PART
    label: int  # index into labels; of an ALLOC


def repeated(events: Sequence[Event], template: int, copies: int) -> list[Event]:
    """The events with those of one part repeated `copies` times more.

    Where the parts come in ascending order the copies follow the template, in descending order (a
    backward sweep) they precede it. A slot that a neighbour part hands over (the residual stream, its
    gradient) is handed from copy to copy.
    Raises: AdvisorError where the part's neighbours do other things than it, so that nothing can be handed.
    """
    return list(_Repeater(events, template, copies).events()) if copies else list(events)


def lives_are_whole(events: Sequence[Event]) -> bool:
    """Whether each slot is made before it is freed, and neither twice."""
    live: set[int] = set()
    for event in events:
        if event.op == Op.ALLOC:
            if event.a in live:
                return False
            live.add(event.a)
        elif event.op == Op.FREE:
            if event.a not in live:
                return False
            live.remove(event.a)
    return True


class _Repeater:
    """Renames slots while it repeats; slots of copy `m` of the template are `slot + m * stride`."""

    def __init__(self, recorded: Sequence[Event], template: int, copies: int) -> None:
        self.recorded = recorded
        self.template = template
        self.copies = copies  # beyond the template itself
        self.owner = {e.a: e.part for e in recorded if e.op in (Op.ALLOC, Op.TOUCH)}
        self.stride = max(self.owner, default=0) + 1
        self.twin = self._twins()

    def _twins(self) -> dict[int, int]:
        """A neighbour's slot to the template's slot that plays the same part."""
        order: dict[int, list[int]] = {}
        for slot, part in self.owner.items():
            order.setdefault(part, []).append(slot)
        mine = order.get(self.template, [])
        twins: dict[int, int] = {}
        for neighbour in (self.template - 1, self.template + 1):
            theirs = order.get(neighbour, [])
            if len(theirs) == len(mine):
                twins |= dict(zip(theirs, mine, strict=True))
        return twins

    def events(self) -> Iterator[Event]:
        recorded = self.recorded
        start = 0
        before = NO_PART  # the last part other than the template that was seen
        while start < len(recorded):
            if recorded[start].part != self.template:
                event = recorded[start]
                if event.part != NO_PART:
                    before = event.part
                yield from self._outside(event)
                start += 1
                continue
            end = start
            while end < len(recorded) and recorded[end].part == self.template:
                end += 1
            yield from self._run(recorded[start:end], descending=before > self.template)
            start = end

    def _outside(self, event: Event) -> Iterator[Event]:
        if event.op == Op.FREE and self.owner[event.a] == self.template:
            if event.part == self.template - 1:
                yield event
            elif event.part == self.template + 1:
                yield self._renamed(event, self.copies)
            else:
                yield from (self._renamed(event, copy) for copy in range(self.copies + 1))
        else:
            yield event

    def _run(self, run: Sequence[Event], *, descending: bool) -> Iterator[Event]:
        copies = range(self.copies + 1)
        for copy in reversed(copies) if descending else copies:
            for event in run:
                yield self._in_copy(event, copy)

    def _in_copy(self, event: Event, copy: int) -> Event:
        if event.op not in (Op.ALLOC, Op.FREE):
            return event
        owner = self.owner[event.a]
        if owner == self.template:
            return self._renamed(event, copy)
        if owner == self.template - 1 and copy > 0:
            return event._replace(a=self._twin(event.a) + (copy - 1) * self.stride)
        if owner == self.template + 1 and copy < self.copies:
            return event._replace(a=self._twin(event.a) + (copy + 1) * self.stride)
        return event

    def _twin(self, slot: int) -> int:
        if slot not in self.twin:
            raise AdvisorError(
                "The tape can't be repeated for every layer.",
                why=f"its parts {self.owner[slot]} and {self.template} do different things",
                fix="delete it; it is made again when it is needed",
                exit_code=ExitCode.ENVIRONMENT,
            )
        return self.twin[slot]

    def _renamed(self, event: Event, copy: int) -> Event:
        op, slot, size, part, label = event  # spelled out: several times as fast as _replace
        return Event(op, slot + copy * self.stride, size, part, label)
