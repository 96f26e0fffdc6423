"""The best config that fits, without replaying the others: the most promising first, until one is proven.

Every config stands in a queue by the score it may reach. What is taken from its head is looked at more closely, from
a hint through its tape's bound and clock to a whole replay, and goes back in or drops out. The first that comes
to the head with its replay done is the best, for all others can only score less.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from itertools import count, pairwise

from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.goals import Goal, score
from advisor.plan.lanes import Lane, PlanOptions, at_micro_batch
from advisor.plan.partial import guess, may_be_partial, settled
from advisor.plan.worth import indifference_share, passed_over
from advisor.records import (
    QUANTISED,
    Allocator,
    Checkpointing,
    GpuSpec,
    Interval,
    Method,
    ModelSpec,
    Precision,
    TrainConfig,
)

Clock = Callable[[ModelSpec, TrainConfig, GpuSpec], Interval]
_UNLIKE = 1.25  # times as large must a micro-batch be to be looked at beside another
_TWINS = 3  # configs near the best to replay in search of one that needs less


class Known(IntEnum):
    """How closely a config was looked at."""

    HINT = 0  # guessed from the tapes of others
    BOUND = 1  # its tape, its time, and what it needs at least
    REPLAY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One config and what is known of it."""

    lane: Lane
    config: TrainConfig
    known: Known = Known.HINT
    needed_bytes: int = 0  # of reserved memory at the risk asked for; at least, where not replayed
    fits: bool = True
    step_seconds: Interval | None = None
    retries: int = 0  # how often the allocator empties its cache under what the card gives
    why_not: str = ""  # why it could not be traced

    @property
    def exact(self) -> bool:
        """Whether the need is that of a replay."""
        return self.known is Known.REPLAY

    @property
    def tokens_per_second(self) -> float:
        """By the clock; 0 where nothing is known."""
        return self.config.tokens_per_step / self.step_seconds.value if self.step_seconds else 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """Which model on which card, what is fixed, and what answers."""

    model: ModelSpec
    gpu: GpuSpec
    options: PlanOptions
    estimator: Estimator
    clock: Clock
    room_bytes: int

    def bound(self, config: TrainConfig, like: TrainConfig | None = None) -> int:
        """What the config needs at least, at the risk asked for; `like` as `Estimator.least_bytes` has it."""
        return self.estimator.least_needed_bytes(self.model, config, self.gpu, self.options.risk, like)

    def has_tape(self, config: TrainConfig) -> bool:
        """Whether nothing needs to be traced for it."""
        return self.estimator.has_tape(self.model, config, self.gpu)

    def prepare(self, configs: Iterable[TrainConfig]) -> None:
        """Have the missing tapes made, in parallel."""
        self.estimator.prepare(self.model, list(configs), self.gpu)

    def looked_at(self, one: Examined) -> Examined:
        """With its tape's bound and the clock's time; traced where it must be."""
        try:
            least = self.bound(one.config)
            taken = self.clock(self.model, one.config, self.gpu)
        except AdvisorError as error:
            return replace(one, fits=False, why_not=error.what)
        fits = least <= self.room_bytes
        return replace(one, known=Known.BOUND, needed_bytes=least, fits=fits, step_seconds=taken)

    def replayed(self, one: Examined) -> Examined:
        """With its replay, where the allocator may take what it likes."""
        needed = self.estimator.needed_bytes(self.model, one.config, self.gpu, self.options.risk)
        return replace(one, known=Known.REPLAY, needed_bytes=needed, fits=needed <= self.room_bytes)

    def squeezed(self, one: Examined) -> Examined:
        """With its replay under what the card gives, less the doubt: the allocator empties its cache to go on."""
        free = self.estimator.outcome(self.model, one.config, self.gpu).peak_reserved_bytes
        cap = self.room_bytes * free // one.needed_bytes
        capped = self.estimator.outcome(self.model, one.config, self.gpu, cap_bytes=cap)
        if capped.out_of_memory:
            return one
        return replace(one, needed_bytes=self.room_bytes, fits=True, retries=capped.retries)


@dataclass(slots=True)
class Search:
    """Opens lanes, settles on the best, remembers all it saw."""

    ask: Question
    seen: dict[TrainConfig, Examined] = field(default_factory=dict)
    with_retries: list[Examined] = field(
        default_factory=list
    )  # fit only with a cache that is emptied on the way
    _queue: list[tuple[float, int, Examined]] = field(default_factory=list)
    _smaller: dict[TrainConfig, TrainConfig] = field(default_factory=dict)  # to try where the first is lost
    _number: Iterator[int] = field(default_factory=count)

    def best(self, lanes: Iterable[Lane]) -> Examined | None:
        """The best that fits; lanes that can't win are not opened. None where nothing fits."""
        found: Examined | None = None
        for lane in lanes:
            if found is None or not self._is_beaten(lane, found):
                self._open(lane)
                found = self._settle()
        return self._best_with_retries() if found is None else self._thriftiest_near(found)

    def fits(self) -> list[Examined]:
        """All that is not known not to fit."""
        return [one for one in self.seen.values() if one.known is not Known.HINT and one.fits]

    def examine(self, lane: Lane, config: TrainConfig) -> Examined:
        """The config with its bound, remembered."""
        if config not in self.seen or self.seen[config].known is Known.HINT:
            self.seen[config] = self.ask.looked_at(Examined(lane=lane, config=config))
        return self.seen[config]

    def prove(self, one: Examined) -> Examined:
        """The config with its replay, remembered."""
        if one.known is not Known.REPLAY and one.fits:
            one = self.ask.replayed(one)
            self.seen[one.config] = one
        return one

    def prove_config(self, lane: Lane, config: TrainConfig) -> Examined:
        """The config with its replay."""
        return self.prove(self.examine(lane, config))

    def prove_with_some_allocator(self, lane: Lane, config: TrainConfig) -> Examined:
        """With fixed segments if that fits, else with growing ones, unless the user chose."""
        one = self.prove(self.examine(lane, config))
        if one.fits or one.why_not or self.ask.options.allocator is not None:
            return one
        return self.prove(self.examine(lane, replace(config, allocator=Allocator.EXPANDABLE)))

    def _is_beaten(self, lane: Lane, found: Examined) -> bool:
        """A quantised base is unpacked at each use: at the same shape it is never faster, and worth no more."""
        options, config = self.ask.options, found.config
        speed = options.goal in (Goal.QUALITY, Goal.FASTEST, Goal.CHEAPEST)
        at_its_best = config.checkpointing is Checkpointing.NONE and config.precision not in QUANTISED
        largest = config.micro_batch == max(micro_batches(options))
        return speed and at_its_best and largest and lane.config.precision in QUANTISED

    def _open(self, lane: Lane) -> None:
        sizes = micro_batches(self.ask.options)
        families = [
            [at_micro_batch(config, size, self.ask.options) for size in sizes]
            for config in lane.variants(self.ask.options)
        ]
        self.ask.prepare(hint_of(family) for family in families)
        hopeful = [self._hopeful(lane, family) for family in families]
        if self.ask.options.goal is Goal.LEAST_MEMORY:
            hopeful = [family[-1:] for family in hopeful]
        self.ask.prepare(family[0] for family in hopeful if family)
        for family, fitting in zip(families, hopeful, strict=True):
            self._smaller |= dict(pairwise(fitting))
            for config in fitting[:1] + [c for c in fitting[1:] if self.ask.has_tape(c)]:
                one = self.examine(lane, config)
                self._push(one)
                if one.fits and may_be_partial(self.ask, config):
                    self._push_partial(guess(self.ask, one, hint_of(family)))

    def _hopeful(self, lane: Lane, family: list[TrainConfig]) -> list[TrainConfig]:
        """What of the family may fit, largest micro-batch first, read off one tape for all."""
        hint = hint_of(family)
        smallest = self._hinted(lane, family[-1], hint)
        if smallest.why_not and self.ask.has_tape(family[-1]):
            return family[-1:]  # nothing tells how it grows, but it is known itself
        if not smallest.fits:
            return []
        low, fitting = 0, len(family) - 1
        while low < fitting:  # what is needed grows with the micro-batch
            middle = (low + fitting) // 2
            if self.ask.bound(family[middle], hint) <= self.ask.room_bytes:
                fitting = middle
            else:
                low = middle + 1
        return family[fitting:]

    def _push_partial(self, guessed: Examined | None) -> None:
        if guessed is not None:
            self._push(guessed)

    def _hinted(self, lane: Lane, config: TrainConfig, hint: TrainConfig) -> Examined:
        """Whether the config may fit, read off the hint's tape."""
        one = Examined(lane=lane, config=config)
        try:
            one = replace(one, needed_bytes=self.ask.bound(config, hint))
        except AdvisorError as error:
            one = replace(one, why_not=error.what)
        one = replace(one, fits=not one.why_not and one.needed_bytes <= self.ask.room_bytes)
        return self.seen.setdefault(config, one) if not one.fits else one

    def _push(self, one: Examined) -> None:
        if one.fits:
            heapq.heappush(self._queue, (-self._score(one), next(self._number), one))
        else:
            self._lose(one)

    def _lose(self, one: Examined) -> None:
        smaller = self._smaller.get(one.config)
        if smaller is not None and smaller not in self.seen:
            self._push(self.examine(one.lane, smaller))

    def _score(self, one: Examined) -> float:
        return score(self.ask.options.goal, one.config, one.tokens_per_second, one.needed_bytes)

    def _settle(self) -> Examined | None:
        """The queue's best that is proven to fit; it stays in the queue."""
        while self._queue:
            _, _, one = self._queue[0]
            if one.known is Known.REPLAY:
                return one
            heapq.heappop(self._queue)
            if one.known is Known.HINT:
                found = settled(self.ask, one.config, partial(self.prove_config, one.lane))
                if found is not None:
                    self._push(found)
            else:
                self._weigh(self.prove(one))
        return None

    def _weigh(self, one: Examined) -> None:
        """Put what was replayed back, or its like with segments that grow, where that helps."""
        if one.fits:
            self._push(one)
        elif self.ask.options.allocator is None and one.config.allocator is Allocator.DEFAULT:
            growing = replace(one.config, allocator=Allocator.EXPANDABLE)
            self._weigh(self.prove(self.examine(one.lane, growing)))
        else:
            self._lose(one)

    def _best_with_retries(self) -> Examined | None:
        """Where nothing else fits: the best that runs because the allocator empties its cache on the way."""
        replayed = [one for one in self.seen.values() if one.known is Known.REPLAY]
        for one in sorted(replayed, key=self._score, reverse=True):
            tried = self.seen[one.config] = self.ask.squeezed(one)
            if tried.fits:
                return tried
        return None

    def _thriftiest_near(self, found: Examined) -> Examined:
        """Of what scores hardly less, the config that needs least."""
        share = indifference_share(self.ask.options.goal.value)
        enough = self._score(found) * (1 - share)
        known = [one for _, _, one in self._queue if one.known is not Known.HINT]
        near = [one for one in known if self._score(one) >= enough and one.needed_bytes < found.needed_bytes]
        near.sort(key=lambda one: one.needed_bytes)
        proven = [self.prove(one) for one in near[:_TWINS]]
        return min([found, *(one for one in proven if one.fits)], key=lambda one: one.needed_bytes)


def hint_of(family: Sequence[TrainConfig]) -> TrainConfig:
    """Whose tape tells how the need grows: the smallest but for micro-batch 1, which is traced as if it were a constant."""
    return next((config for config in reversed(family) if config.micro_batch > 1), family[-1])


def is_free(lane: Lane, ask: Question) -> bool:
    """Whether the plan may choose the way unasked: adapters, and nothing that another way is as good as throughout."""
    options, method = ask.options, lane.config.method
    if options.method is None and method is not Method.LORA:
        return False
    asked = options.precision is not None or options.thorough
    return asked or not passed_over(lane.config, half_precision(ask.gpu))


def half_precision(gpu: GpuSpec) -> Precision:
    """What the card computes 16-bit adapters' base in."""
    return Precision.BF16 if gpu.bf16 else Precision.FP16


def micro_batches(options: PlanOptions) -> list[int]:
    """What divides the effective batch, largest first, without those that hardly differ; or the one that was asked for."""
    if options.micro_batch is not None:
        return [options.micro_batch]
    batch = options.effective_batch
    kept = [batch]
    for size in range(batch - 1, 0, -1):
        if batch % size == 0 and (kept[-1] >= _UNLIKE * size or size == 1):
            kept.append(size)
    return kept
