"""A tape through the allocator: peaks by phase and step, the smallest cap that runs, what is alive at the peak."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from advisor.records import Allocator
from advisor.replay.addresses import DriverAddresses
from advisor.replay.allocator import CachingAllocator
from advisor.replay.blocks import ROUND_LARGE_BYTES, Block, OutOfMemoryError, rounded
from advisor.replay.brief import evaluation_begins
from advisor.replay.driver import moments
from advisor.replay.shape import Shape, sizes_bytes
from advisor.tape.events import Event, Op
from advisor.tape.record import Tape, unroll

_FIRST = "forward"  # static bytes are what is allocated when this phase first begins
_STEP = (_FIRST, "backward", "optimizer")  # the phases of a step
FIRST_STEP, LATER_STEPS = "first-step", "later-steps"


@dataclass(frozen=True, slots=True)
class Program:
    """A tape's allocations for the whole model, without its kernels; the same for shapes of as many tiles."""

    tape: Tape
    requests: tuple[Event, ...]  # allocations, frees, phases, and `Op.TOUCH`
    counted: int  # so many of them belong to the run; what is left is told by phase alone
    moments: tuple[tuple[int, str], ...] = field(init=False)  # before which of them the driver acts, and when

    def __post_init__(self) -> None:
        """Replays are many: the driver's moments are looked for once."""
        object.__setattr__(self, "moments", tuple(moments(self.tape, self.requests)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the allocator saw."""

    static_bytes: int
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    retries: int
    phase_allocated_bytes: dict[str, int]  # also of phases that the run does not come to
    step_allocated_bytes: dict[str, int]  # first-step and later-steps: all phases of each
    peak_request: int  # index of the request at which the allocated peak came
    peak_phase: str
    peak_step: str  # first-step or later-steps; empty where the peak is in no step
    out_of_memory: bool = False


def program(made: Tape, further_tiles: int = 0) -> Program:
    """The allocations of the whole model, in order; `further_tiles` as `Tape.further_tiles` tells.

    `made` is a brief tape. The evaluation at its end is not counted.
    """
    requests = tuple(unroll(made, further_tiles))
    return Program(made, requests, evaluation_begins(made, requests))


def replay(made: Program, shape: Shape, cap_bytes: int | None = None) -> Outcome:
    """The program through the allocator, under a cap where one is given."""
    meter = _Meter(made, shape, cap_bytes)
    try:
        meter.run(made)
    except OutOfMemoryError:
        return meter.outcome(out_of_memory=True)
    outcome = meter.outcome()
    if cap_bytes is None and made.counted < len(made.requests):
        meter.rest(made)
        outcome = replace(outcome, phase_allocated_bytes=dict(meter.phases))
    return outcome


def minimum_reserved_bytes(made: Program, shape: Shape, free: Outcome, *, halvings: int) -> int:
    """The smallest cap under which the program runs, with retries if need be.

    It is searched by halving the gap between the two peaks so many times, and never given too low.

    `free` is the outcome without a cap. Below the allocated peak nothing runs; at the reserved peak
    everything does; in between a cap runs where the cache, once emptied, leaves room.
    """
    low, high = free.peak_allocated_bytes - 1, free.peak_reserved_bytes
    for _ in range(halvings):
        if high - low <= ROUND_LARGE_BYTES:
            break
        middle = (low + high) // 2
        if replay(made, shape, middle).out_of_memory:
            low = middle
        else:
            high = middle
    return high


def alive_at_peak(made: Program, shape: Shape, outcome: Outcome) -> dict[str, int]:
    """Bytes alive at the allocated peak by category, largest first; they add up to the peak.

    `rounding` is what the allocator handed out beyond the requests, for a remainder was too small to keep.
    """
    totals: dict[str, int] = {}
    for label, size_bytes in live_at_peak(made, shape, outcome):
        category = made.tape.labels[label].category
        totals[category] = totals.get(category, 0) + size_bytes
    totals["rounding"] = outcome.peak_allocated_bytes - sum(totals.values())
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def live_at_peak(made: Program, shape: Shape, outcome: Outcome) -> list[tuple[int, int]]:
    """Label (by its index) and bytes of every buffer alive at the allocated peak; the last is the one that reached it."""
    sizes = [rounded(size) for size in sizes_bytes(made.tape, shape)]
    live: dict[int, tuple[int, int]] = {}
    for kind, slot, size, _, label in made.requests[: outcome.peak_request]:
        if kind == Op.ALLOC:
            live[slot] = (label, sizes[size])
        elif kind == Op.FREE:
            del live[slot]
    last = made.requests[outcome.peak_request]
    return [*live.values(), (last.label, sizes[last.b])]


class _Meter:
    """Runs requests and books the peaks."""

    def __init__(self, made: Program, shape: Shape, cap_bytes: int | None) -> None:
        self.tape = made.tape
        self.sizes = sizes_bytes(made.tape, shape)
        expandable = shape.allocator is Allocator.EXPANDABLE
        self.allocator = CachingAllocator(cap_bytes, expandable=expandable)
        self.addresses = self.allocator.addresses = DriverAddresses(shape.driver)
        self.blocks: dict[int, Block] = {}
        self.micro_batches = int(made.tape.key.get("accumulation_steps", 1))  # in a step of the tape
        self.passes = 0
        self.phase = self.step = ""
        self.phases: dict[str, int] = {}
        self.steps: dict[str, int] = {}
        self.static_bytes = 0
        self.peak_bytes = 0
        self.peak_at = 0, "", ""  # request, phase, step

    def run(self, made: Program) -> None:
        counted = made.requests[: made.counted]
        start = best = 0
        for index, moment in made.moments:
            if index >= made.counted:
                break
            best = self._run(counted[start:index], start, best)
            self.addresses.reach(moment)
            start = index
        self._run(counted[start:], start, best)
        self._book()

    def rest(self, made: Program) -> None:
        """What the run does not come to."""
        self._run(made.requests[made.counted :], made.counted, self.allocator.peak_allocated_bytes)
        self._book()

    def _run(self, requests: Sequence[Event], start: int, best: int) -> int:
        """Requests from the one of that index on; `best` is the phase's allocated peak so far, and is given back."""
        allocator, sizes, blocks = self.allocator, self.sizes, self.blocks
        for index, (kind, slot, size, _, _) in enumerate(requests, start):
            if kind == Op.ALLOC:
                blocks[slot] = allocator.allocate(sizes[size])
            elif kind == Op.FREE:
                allocator.release(blocks.pop(slot))
                continue
            elif kind == Op.TOUCH:
                allocator.touch(sizes[size])
            else:
                best = self._begin(self.tape.phases[slot])
            if allocator.peak_allocated_bytes > best:
                best = allocator.peak_allocated_bytes
                if best > self.peak_bytes:
                    self.peak_bytes, self.peak_at = best, (index, self.phase, self.step)
        return best

    def _begin(self, phase: str) -> int:
        self._book()
        if phase == _FIRST:
            self.passes += 1
            self.static_bytes = self.static_bytes or self.allocator.allocated_bytes
        step = FIRST_STEP if self.passes <= self.micro_batches else LATER_STEPS
        self.phase, self.step = phase, step if phase in _STEP else ""
        self.allocator.peak_allocated_bytes = self.allocator.allocated_bytes
        return self.allocator.allocated_bytes

    def _book(self) -> None:
        peak = self.allocator.peak_allocated_bytes
        if self.phase:
            self.phases[self.phase] = max(self.phases.get(self.phase, 0), peak)
        if self.step:
            self.steps[self.step] = max(self.steps.get(self.step, 0), peak)

    def outcome(self, *, out_of_memory: bool = False) -> Outcome:
        request, phase, step = self.peak_at
        return Outcome(
            static_bytes=self.static_bytes,
            peak_allocated_bytes=self.peak_bytes,
            peak_reserved_bytes=self.allocator.peak_reserved_bytes,
            retries=self.allocator.retries,
            phase_allocated_bytes=dict(self.phases),
            step_allocated_bytes=dict(self.steps),
            peak_request=request,
            peak_phase=phase,
            peak_step=step,
            out_of_memory=out_of_memory,
        )
