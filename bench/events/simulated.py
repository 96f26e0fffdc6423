"""What a simulated run asks of the allocator, in order and for the whole model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import shape_on
from advisor.records import config_from_json
from advisor.replay.memory import Program, replay
from advisor.replay.shape import Shape, sizes_bytes
from advisor.tape.events import Event, Op
from advisor.tape.record import Tape, unroll
from advisor.tape.store import TapeStore, wanted
from bench.events.history import ALLOC, FREE

_LAST_OF_STEP = "optimizer"
_TRAINING = ("load", "prepare", "forward", "backward", _LAST_OF_STEP)


class Asked(NamedTuple):
    """One block that was asked for or given back."""

    kind: str
    size_bytes: int
    op: str  # that made it
    step: int  # 0: before the first one
    phase: str


@dataclass(frozen=True, slots=True)
class Run:
    """A simulated run."""

    asked: tuple[Asked, ...]
    moments: tuple[tuple[int, str], ...]  # before which of them the driver maps something for itself
    shape: Shape
    peak_reserved_bytes: int


def simulated_run(row: dict[str, Any], card: str, steps: int, store: TapeStore) -> Run:
    """The run of the row, as `advisor estimate` takes it, with so many optimizer steps.

    A tape holds two; all further ones are like the second.
    Raises: AdvisorError where the step can't be traced.
    """
    config, gpu = config_from_json(row), find_gpu(card)[0]
    tape = store.get(wanted(find_model(row["model"])[0], config, gpu))
    shape = shape_on(config, gpu)
    tiles = max(0, tape.further_tiles(config.micro_batch, config.sequence_length))
    requests = _training(tape, [event for event in unroll(tape, tiles) if event.op != Op.KERNEL])
    at = [index for index, event in enumerate(requests) if event.op == Op.PHASE]
    asked = tuple(_asked(tape, shape, requests))
    steady = tuple(each for each in asked if each.step == asked[-1].step)
    for step in range(asked[-1].step + 1, steps + 1):
        asked += tuple(each._replace(step=step) for each in steady)
    # Phases are requests, too, but nothing is asked at them.
    made = Program(tape, tuple(requests), len(requests))
    found = ((index - sum(phase < index for phase in at), m) for index, m in made.moments)
    return Run(asked, tuple(found), shape, replay(made, shape).peak_reserved_bytes)


def _training(tape: Tape, requests: list[Event]) -> list[Event]:
    """What comes before anything but training: a history is cut there, too."""
    ends = (
        i for i, each in enumerate(requests) if each.op == Op.PHASE and tape.phases[each.a] not in _TRAINING
    )
    return requests[: next(ends, len(requests))]


def _asked(tape: Tape, shape: Shape, requests: list[Event]) -> Iterator[Asked]:
    sizes = sizes_bytes(tape, shape)
    made: dict[int, tuple[int, str]] = {}  # bytes and op by slot
    step, phase = 0, ""
    for kind, a, b, _, label in requests:
        if kind == Op.PHASE:
            before, phase = phase, tape.phases[a]
            step += phase == "forward" and before in ("prepare", _LAST_OF_STEP)
        elif kind == Op.ALLOC:
            made[a] = sizes[b], tape.labels[label].op
            yield Asked(ALLOC, *made[a], step, phase)
        else:
            yield Asked(FREE, *made[a], step, phase)
