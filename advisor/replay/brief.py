"""A tape for the allocator alone: no kernels, and what dies at once in one event."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from advisor.tape.events import Event, Op
from advisor.tape.record import Tape

_EVALUATION = "evaluate"  # the name of that phase


def brief(tape: Tape) -> Tape:
    """The same tape with half the events; what the allocator does stays the same."""
    return replace(tape, kernels=(), events=tuple(_brief(tape.events)))


def evaluation_begins(tape: Tape, events: Sequence[Event]) -> int:
    """Which of the tape's events begins the evaluation, with which it ends; their count where there is none."""
    return next(
        (i for i, e in enumerate(events) if e.op == Op.PHASE and tape.phases[e.a] == _EVALUATION), len(events)
    )


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
