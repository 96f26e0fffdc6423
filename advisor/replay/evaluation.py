"""An evaluation of other batches than those of training: the end of one tape behind the rest of another."""

from dataclasses import replace

from advisor.replay.memory import Program
from advisor.replay.shape import Shape, sizes_bytes
from advisor.tape.events import Event, Op
from advisor.tape.record import Size


def with_evaluation(training: Program, other: Program, shape: Shape) -> Program:
    """A run with the second program's evaluation, which is of that shape, in place of its own.

    Both are of one model and one way to train it, and count what comes before the evaluation.
    """
    tape, theirs = training.tape, other.tape
    joined = replace(
        tape,
        sizes=(*tape.sizes, *(Size(size_bytes) for size_bytes in sizes_bytes(theirs, shape))),
        labels=(*tape.labels, *theirs.labels),
        phases=(*tape.phases, *theirs.phases),
    )
    requests = (*training.requests[: training.counted], *_moved(training, other))
    return Program(joined, requests, len(requests))


def _moved(training: Program, other: Program) -> list[Event]:
    """The second's evaluation with its slots, sizes, labels and phases behind those of the first.

    What it frees of what came before belongs to the other program, and is left out: a batch of token ids.
    """
    tape = training.tape
    stride = 1 + max((e.a for e in training.requests if e.op == Op.ALLOC), default=0)
    moved: list[Event] = []
    mine: set[int] = set()
    for op, a, size, part, label in other.requests[other.counted :]:
        if op == Op.PHASE:
            moved.append(Event(op, a + len(tape.phases), 0, part, 0))
        elif op == Op.FREE:
            moved += [Event(op, a + stride, 0, part, 0)] if a in mine else []
        else:
            mine.add(a)
            moved.append(Event(op, a + stride, size + len(tape.sizes), part, label + len(tape.labels)))
    return moved
