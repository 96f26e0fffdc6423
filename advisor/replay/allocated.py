"""What tensors hold at the peak, from the cut tape alone: a bound that costs a few milliseconds.

It leaves out what the allocator adds to a request, so a replay is never below it.
"""

from collections.abc import Sequence
from itertools import groupby

from advisor.replay.blocks import rounded
from advisor.replay.brief import evaluation_begins
from advisor.replay.shape import Shape, sizes_bytes
from advisor.tape.events import Event, Op
from advisor.tape.record import Tape

_STAY = ("parameter", "buffer", "quantisation state", "optimizer state")  # categories of what a step keeps
_WARM_UP = "loader_warmup"  # one block of all the weights, gone before the first step


def least_peak_bytes(tape: Tape, shape: Shape) -> int:
    """No more than the allocated peak of training at that shape, and within a percent of it; `tape` is a brief one."""
    sizes = [rounded(size) for size in sizes_bytes(tape, shape)]
    copies = tape.copies_at(shape.micro_batch, shape.sequence_length)
    held: dict[int, int] = {}  # bytes by slot
    owner: dict[int, int] = {}
    now = peak = 0
    training = tape.events[: evaluation_begins(tape, tape.events)]
    for part, run in groupby(training, key=lambda event: event.part):
        change, highest = _run(list(run), sizes, held, owner, copies)
        times = copies.get(part, 0) + 1
        peak = max(peak, now + highest, now + change * (times - 1) + highest)
        now += change * times
    return peak


def largest_block_bytes(tape: Tape, shape: Shape) -> int:
    """The largest block that a step asks for and gives back; `tape` is a brief one.

    Where the allocator places such a block otherwise than the replay, what it reserves differs by as much.
    """
    sizes = sizes_bytes(tape, shape)
    return max((sizes[index] for index in _given_back(tape)), default=0)


def _given_back(tape: Tape) -> set[int]:
    """Which sizes are of blocks that come and go."""
    return {
        event.b
        for event in tape.events
        if event.op in (Op.ALLOC, Op.TOUCH)
        and tape.labels[event.label].category not in _STAY
        and tape.sizes[event.b].constant != _WARM_UP
    }


def _run(
    run: Sequence[Event],
    sizes: Sequence[int],
    held: dict[int, int],
    owner: dict[int, int],
    copies: dict[int, int],
) -> tuple[int, int]:
    """How the bytes change over one pass of a part, and how high they rise within it."""
    now = highest = 0
    for op, slot, size, part, _ in run:
        if op == Op.ALLOC:
            held[slot], owner[slot] = sizes[size], part
            now += sizes[size]
        elif op == Op.FREE:
            # A part that repeats hands one copy to each neighbour; whoever else frees, frees all copies.
            whose = owner[slot]
            times = 1 if abs(whose - part) <= 1 else copies.get(whose, 0) + 1
            now -= held[slot] * times
        elif op == Op.TOUCH and now + sizes[size] > highest:
            highest = now + sizes[size]
        highest = max(highest, now)
    return now, highest
