"""Gives each event of a finished trace the part of the model that it belongs to.

While the step is inside a decoder layer that is known at once. Outside of all (the optimizer, the clipping of
gradients) it follows from what an op works on, whose parts are all known only at the end.
"""

from dataclasses import replace

from advisor.simulate.ledger import Group, Ledger
from advisor.tape.events import NO_PART, Event, Op
from advisor.tape.record import Size


def settled(ledger: Ledger, template: int) -> tuple[Event, ...]:
    """The ledger's events, each with its part, and with shares for further layers where something of each joins."""
    return _Settler(ledger, template).events()


class _Settler:
    def __init__(self, ledger: Ledger, template: int) -> None:
        self.ledger = ledger
        self.template = template
        self.owner: list[int] = []  # part of each slot
        self.size: list[Size] = []  # of each slot
        self.worked = NO_PART  # part of the last kernel

    def events(self) -> tuple[Event, ...]:
        settle = {Op.ALLOC: self._made, Op.FREE: self._dropped, Op.KERNEL: self._ran}
        events: list[Event] = []
        for index, event in enumerate(self.ledger.events):
            if index in self.ledger.breaks:
                self.worked = NO_PART
            groups = self.ledger.groups.get(index, ())
            events.append(settle[Op(event.op)](event, groups) if event.op != Op.PHASE else event)
        return tuple(events)

    def _made(self, event: Event, groups: tuple[Group, ...]) -> Event:
        size = self.ledger.sizes.items[event.b]
        if event.part == NO_PART and groups:
            event = event._replace(part=self._only_part(groups))
            if event.part == NO_PART:
                # What joins something of each layer (torch.stack) grows with each.
                size = replace(size, per_layer=self._joined(groups))
                event = event._replace(b=self.ledger.sizes.index(size))
        self.owner.append(event.part)
        self.size.append(size)
        return event

    def _ran(self, event: Event, groups: tuple[Group, ...]) -> Event:
        if event.part == NO_PART and groups:
            event = event._replace(part=self._only_part(groups))
            share = self._share(groups) if event.part == NO_PART else 0
            if share:
                kernel = self.ledger.kernels.items[event.a]
                kernel = replace(kernel, moved=(*kernel.moved, Size(0, per_layer=share)))
                event = event._replace(a=self.ledger.kernels.index(kernel))
        self.worked = event.part
        return event

    def _dropped(self, event: Event, _: tuple[Group, ...]) -> Event:
        """What a part leaves to its neighbour dies in the neighbour's hands.

        What outlives that dies with others of its kind (a graph or a list that is dropped at once), each in
        the part that made it.
        """
        owner = self.owner[event.a]
        here = event.part if event.part != NO_PART else self.worked
        nearby = here != NO_PART and (abs(owner - here) <= 1 or owner == NO_PART)
        return event._replace(part=here if nearby else owner)

    def _parts(self, group: Group) -> set[int]:
        return {self.owner[slot] for slot in group.slots} - {NO_PART}

    def _only_part(self, groups: tuple[Group, ...]) -> int:
        """The part that everything of known part belongs to, or NO_PART."""
        parts = set().union(*(self._parts(group) for group in groups))
        return parts.pop() if len(parts) == 1 else NO_PART

    def _joined(self, groups: tuple[Group, ...]) -> int:
        """Bytes that the template brings to what an op joins."""
        return sum(group.moved_bytes for group in groups if self._parts(group) == {self.template})

    def _share(self, groups: tuple[Group, ...]) -> int:
        """Bytes that each further layer adds to what an op works on."""
        grown = sum(self.size[slot].per_layer for group in groups for slot in group.slots)
        return grown + self._joined(groups)
