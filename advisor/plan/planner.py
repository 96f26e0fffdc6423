"""From a model, a card and what the user fixed to a plan: which lane, which shape, why, and what lost."""

from dataclasses import dataclass, replace

from advisor.catalog.gpus import usable_bytes
from advisor.errors import AdvisorError, ExitCode
from advisor.estimate import COARSE, Estimator, reserved_interval
from advisor.plan.document import Alternative, Card, Model, Plan
from advisor.plan.lanes import Lane, PlanOptions, lanes
from advisor.plan.reasons import assumptions, choices
from advisor.records import Checkpointing, GpuSpec, Method, ModelSpec, Reason, TrainConfig
from advisor.tape.versions import installed_versions
from advisor.units import gib

# Tokens in a micro-batch beyond which a larger one hardly trains faster. On an H200, 8B NF4 with
# checkpointing, 2,048-token sequences: 8 a micro-batch 8,581 tokens/s, 4 a micro-batch 8,310 (-3 %),
# for 5 GiB less; 1 a micro-batch 7,204 (-16 %). Measured 2026-11-23; a faster card saturates later.
ENOUGH_TOKENS = 8192
# Below so many tokens a step is bound by launches, and recomputing with a larger micro-batch is no slower: on
# an H200 8B NF4 took 0.53 s for 512 tokens and 0.44 s for 2,048. Measured 2026-11-23.
TOO_FEW_TOKENS = 2048
_AT_ONCE = 2  # shapes to trace ahead: as many as are traced in parallel
_LONGEST_HALVINGS = 4  # when nothing fits, how often to halve the sequence to find what would


@dataclass(frozen=True, slots=True)
class Found:
    """A config that was replayed, and whether the card holds it."""

    config: TrainConfig
    needed_bytes: int  # the reserved peak at the upper end of its interval, or less where not exact
    fits: bool
    exact: bool = True


def make_plan(  # noqa: PLR0913 - model, card and wishes; the others have defaults
    model: ModelSpec,
    gpu: GpuSpec,
    options: PlanOptions,
    estimator: Estimator,
    *,
    assumed: tuple[str, ...] = (),
    command: str = "",
) -> Plan:
    """The plan for the model on the card.

    Raises: AdvisorError where nothing that the user allows fits, with the nearest change that would.
    """
    search = _Search(model, gpu, options, estimator)
    lane, found = search.best()
    config = found.config
    on_the_way = tuple(search.record)  # what had to fail before this was chosen
    lost = search.alternatives(lane, found)
    return Plan(
        model=Model(name=model.name, parameters=model.parameters, source=model.source, config=model.config),
        card=Card(
            name=gpu.name,
            memory_bytes=gpu.memory_bytes,
            board_bytes=gpu.board_bytes or gpu.memory_bytes,
            usable_bytes=search.usable,
            context_bytes=gpu.context_bytes,
        ),
        config=config,
        estimate=estimator.estimate(model, config, gpu, halvings=COARSE),
        choices=tuple(choices(model, gpu, options, config, on_the_way, lost)),
        alternatives=tuple(lost),
        assumptions=(*assumed, *assumptions(model, gpu, options, config)),
        command=command,
        versions=installed_versions(),
    )


class _Search:
    """Walks the lanes in order of preference; keeps what it learned of each."""

    def __init__(self, model: ModelSpec, gpu: GpuSpec, options: PlanOptions, estimator: Estimator) -> None:
        self.model, self.gpu, self.options, self.estimator = model, gpu, options, estimator
        self.usable = usable_bytes(gpu) - options.reserve_bytes
        self.lanes = lanes(gpu, options)
        self.record: list[Alternative] = []  # what lost so far, with the number that decided

    def best(self) -> tuple[Lane, Found]:
        eligible = self.lanes
        if self.options.method is None:
            eligible = [lane for lane in self.lanes if lane.config.method is Method.LORA]
        for lane in eligible:
            found = self._in_lane(lane)
            if found is not None:
                return lane, found
        raise self._nothing_fits()

    def _in_lane(self, lane: Lane) -> Found | None:
        if self._hopeless(lane):
            return None
        small, plain = self._smallest(lane), self._smallest(lane, Checkpointing.NONE)
        if self._is_cheap(small) and not self._bound(small).fits:
            self._lost(lane, self._bound(small), "does-not-fit")
            return None
        self.estimator.prepare(self.model, [small, plain], self.gpu)
        if plain != small:
            found = self._largest(lane, plain)
            if found is not None:
                return found
            self._lost(lane, self._bound(plain), "needs-checkpointing", "without checkpointing")
        found = self._largest(lane, small)
        if found is None:
            self._lost(lane, self._try(small), "does-not-fit")
        return found

    def _hopeless(self, lane: Lane) -> bool:
        """Whether no trace is needed to see that the lane can't run."""
        floor = lane.floor_bytes(self.model)
        if not lane.unsupported and floor <= self.usable:
            return False
        small = self._smallest(lane)
        if not lane.unsupported and self._is_cheap(small):
            return False  # the tape is at hand: give the whole figure
        text = lane.unsupported or f"{lane.floor_is_of} alone"
        code = "unsupported" if lane.unsupported else "too-many-weights"
        self.record.append(
            Alternative(
                label=lane.label,
                config=small,
                needed_bytes=floor,
                lower_bound=True,
                reason=Reason(code=code, text=text),
            )
        )
        return True

    def _is_cheap(self, config: TrainConfig) -> bool:
        return self.options.thorough or self.estimator.has_tape(self.model, config, self.gpu)

    def _smallest(self, lane: Lane, kind: Checkpointing | None = None) -> TrainConfig:
        asked = self.options.checkpointing
        chosen = asked if asked is not None else (kind or lane.checkpointing)
        return lane.with_shape(self.options.micro_batch or 1, self.options, chosen)

    def _largest(self, lane: Lane, like: TrainConfig) -> Found | None:
        """The largest useful micro-batch that fits; each is traced before it is believed."""
        shapes = [lane.with_shape(n, self.options, like.checkpointing) for n in self._useful(like)]
        hopeful = [c for c in shapes if self._least(c, like) <= self.usable]
        self.estimator.prepare(self.model, hopeful[:_AT_ONCE], self.gpu)
        for config in hopeful:
            found = self._try(config)
            if found.fits:
                return found
        return None

    def _least(self, config: TrainConfig, like: TrainConfig) -> int:
        return self.estimator.least_bytes(self.model, config, self.gpu, like)

    def _useful(self, like: TrainConfig) -> list[int]:
        if self.options.micro_batch is not None:
            return [like.micro_batch]
        length = like.sequence_length
        most = max(1, min(self.options.effective_batch, ENOUGH_TOKENS // length))
        least = 1
        if like.checkpointing is Checkpointing.NONE and self.options.checkpointing is None:
            least = min(most, -(-TOO_FEW_TOKENS // length))
        return [n for n in _divisors(self.options.effective_batch) if least <= n <= most]

    def _bound(self, config: TrainConfig) -> Found:
        """What the config needs at least: enough where that is too much, or nothing depends on it."""
        least = self.estimator.least_bytes(self.model, config, self.gpu)
        return Found(config, least, least <= self.usable, exact=False)

    def _try(self, config: TrainConfig) -> Found:
        """What the config needs, by a whole replay where a bound does not settle it."""
        bound = self._bound(config)
        if not bound.fits:
            return bound
        outcome = self.estimator.outcome(self.model, config, self.gpu)
        needed = reserved_interval(config, self.gpu, outcome).high
        return Found(config, needed, needed <= self.usable)

    def _lost(self, lane: Lane, found: Found, code: str, how: str = "") -> None:
        texts = {"needs-checkpointing": "does not fit", "does-not-fit": "does not fit"}
        self._add(lane, found, Reason(code=code, text=texts[code]), how)

    def _add(self, lane: Lane, found: Found, reason: Reason, how: str = "") -> None:
        self.record.append(
            Alternative(
                label=f"{lane.label} {how}".strip(),
                config=found.config,
                needed_bytes=found.needed_bytes,
                lower_bound=not found.exact,
                reason=reason,
            )
        )

    def alternatives(self, chosen: Lane, found: Found) -> list[Alternative]:
        """What lost on the way, the next larger micro-batch, and the lanes that were not needed."""
        if self.options.thorough:
            rest = [self._smallest(lane) for lane in self.lanes if not lane.unsupported]
            self.estimator.prepare(self.model, rest, self.gpu)
        seen = {chosen.label, *(a.label for a in self.record)}
        self._next_larger(chosen, found)
        for lane in self.lanes:
            if lane.label not in seen and not self._hopeless(lane):
                self._not_needed(lane)
        return self.record

    def _next_larger(self, lane: Lane, found: Found) -> None:
        above = [n for n in _divisors(self.options.effective_batch) if n > found.config.micro_batch]
        if not above or self.options.micro_batch is not None:
            return
        config = lane.with_shape(above[-1], self.options, found.config.checkpointing)
        if not self._is_cheap(config):
            return
        was_tried = config.micro_batch in self._useful(found.config)
        larger = self._try(config) if was_tried else self._bound(config)
        how = f"with micro-batch {config.micro_batch}"
        if larger.fits:
            text = f"{ENOUGH_TOKENS:,} tokens at a time keep the card busy already"
            self._add(lane, larger, Reason(code="not-preferred", text=text), how)
        else:
            self._lost(lane, larger, "does-not-fit", how)

    def _not_needed(self, lane: Lane) -> None:
        small = self._smallest(lane)
        if self._is_cheap(small):
            found = self._bound(small)
            code = "not-preferred" if found.fits else "does-not-fit"
            text = "comes later in the order of preference" if found.fits else "does not fit"
            self._add(lane, found, Reason(code=code, text=text))
            return
        text = f"{lane.floor_is_of} alone; comes later, so it was not traced (--thorough does)"
        self.record.append(
            Alternative(
                label=lane.label,
                config=small,
                needed_bytes=lane.floor_bytes(self.model),
                lower_bound=True,
                reason=Reason(code="not-examined", text=text),
            )
        )

    def _nothing_fits(self) -> AdvisorError:
        could = [a for a in self.record if a.reason.code != "unsupported"]
        least = min(could, key=lambda a: a.needed_bytes, default=None)
        if least is None:
            return AdvisorError(
                "No way to train is left.",
                why="the method and the precision that were asked for exclude each other",
                fix="quantised weights train with --method lora only",
            )
        atleast = "at least " if least.lower_bound else ""
        return AdvisorError(
            f"Nothing fits: {self.model.name} on {self.gpu.name}.",
            why=f"the smallest, {least.label}, needs {atleast}{gib(least.needed_bytes)}"
            f" of {gib(self.usable)}",
            fix=self._way_out(least),
            exit_code=ExitCode.NO,
        )

    def _way_out(self, least: Alternative) -> str:
        """The longest sequence that would fit, else the memory to look for."""
        lane = next(lane for lane in self.lanes if least.label.startswith(lane.label))
        if lane.floor_bytes(self.model) <= self.usable:
            for length in self._shorter():
                config = replace(least.config, sequence_length=length)
                if self._least(config, least.config) <= self.usable and self._try(config).fits:
                    return f"--sequence-length {length} fits; or a card with more memory"
        return f"a card that gives at least {gib(least.needed_bytes)}, or a smaller model"

    def _shorter(self) -> list[int]:
        halves = (self.options.sequence_length >> n for n in range(1, _LONGEST_HALVINGS + 1))
        return [length for length in halves if length > 1]


def _divisors(number: int) -> list[int]:
    """Every divisor, largest first."""
    return [n for n in range(number, 0, -1) if number % n == 0]
