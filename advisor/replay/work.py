"""What a step asks of the card and of the host: how often each kernel is launched, at what size."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from advisor.tape.events import Event, Op
from advisor.tape.record import MIDDLE_TILE, Kernel, Size, Tape

FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"
_STEP = (FORWARD, BACKWARD, OPTIMIZER)


@dataclass(frozen=True, slots=True)
class Launches:
    """One kernel of one phase: how often it is launched in a pass."""

    kernel: Kernel
    once: int
    parts: tuple[tuple[int, int], ...]  # part that is repeated, launches in each copy of it


@dataclass(frozen=True, slots=True)
class Work:
    """The kernels of one steady step by phase; forward and backward are those of one micro-batch."""

    phases: dict[str, tuple[Launches, ...]]


@dataclass(frozen=True, slots=True)
class Sized:
    """A kernel at one shape."""

    kind: str
    count: int
    operations: int  # of one launch
    moved_bytes: int  # likewise


def work(tape: Tape) -> Work:
    """The launches of the tape's last step, which is a steady one: the first one prepares."""
    counts: dict[str, Counter[tuple[int, int]]] = {phase: Counter() for phase in _STEP}
    for phase, events in _last_passes(tape).items():
        counts[phase].update((e.a, e.part) for e in events if e.op == Op.KERNEL)
    return Work({phase: _launches(tape, counted) for phase, counted in counts.items()})


def at_shape(
    made: Work, tape: Tape, micro_batch: int, sequence_length: int, multiprocessors: int = 0
) -> dict[str, list[Sized]]:
    """The kernels of each phase with their sizes; `tape` says how often layers are repeated.

    `multiprocessors`: of the card; asked for by Liger's tapes alone.
    """
    copies = tape.copies_at(micro_batch, sequence_length)

    def value(sizes: tuple[Size, ...]) -> int:
        shape = micro_batch, sequence_length, tape.further_layers, multiprocessors
        return sum(size.at(*shape) for size in sizes)

    return {
        phase: [
            Sized(
                each.kernel.kind,
                each.once + sum(count * copies.get(part, 0) for part, count in each.parts),
                value(each.kernel.operations),
                value(each.kernel.moved),
            )
            for each in launches
        ]
        for phase, launches in made.phases.items()
    }


def _last_passes(tape: Tape) -> dict[str, list[Event]]:
    return {phase: events for phase, events in _passes(tape) if phase in _STEP}


def _passes(tape: Tape) -> Iterator[tuple[str, list[Event]]]:
    phase, events = "", list[Event]()
    for event in tape.events:
        if event.op == Op.PHASE:
            yield phase, events
            phase, events = tape.phases[event.a], []
        else:
            events.append(event)
    yield phase, events


def _launches(tape: Tape, counted: Counter[tuple[int, int]]) -> tuple[Launches, ...]:
    repeated = {tape.template, tape.kept_template, MIDDLE_TILE}
    by_kernel: dict[int, list[tuple[int, int]]] = {}
    for (kernel, part), count in counted.items():
        by_kernel.setdefault(kernel, []).append((part, count))
    return tuple(
        Launches(
            tape.kernels[kernel],
            sum(count for _, count in parts),
            tuple((part, count) for part, count in parts if part in repeated),
        )
        for kernel, parts in by_kernel.items()
    )
