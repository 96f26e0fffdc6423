"""A tape for the allocator alone: no kernels, and what dies at once in one event."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from advisor.tape.events import Event, Op
from advisor.tape.record import Tape


def brief(tape: Tape) -> Tape:
    """The same tape with half the events; what the allocator does stays the same."""
    return replace(tape, kernels=(), events=tuple(_brief(tape.events)))


def _brief(events: Iterable[Event]) -> Iterator[Event]:
    held: Event | None = None
    for event in events:
        if event.op == Op.KERNEL:
            continue
        if held is not None:
            if event.op == Op.FREE and event.a == held.a and event.part == held.part:
                yield held._replace(op=Op.TOUCH)
                held = None
                continue
            yield held
        held = event if event.op == Op.ALLOC else None
        if held is None:
            yield event
    if held is not None:
        yield held
