"""A plan under a cap and its rivals: other ways to train the same batches in the same memory.

Every row of a contest takes the same number of sequences a step, cut from the effective batch so that a row does
not last too long. The optimizer's share is then the same in all, so that tokens a second compare the forward and backward
passes as they are; with the whole batch it would be smaller in all alike. What changes what is learned (method, rank,
modules) is held.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from advisor.catalog.gpus import usable_bytes
from advisor.errors import AdvisorError, ExitCode
from advisor.estimate import Estimator
from advisor.plan.dimensions import recomputing
from advisor.plan.goals import STRETCHED, Goal
from advisor.plan.lanes import Lane, PlanOptions, at_micro_batch, lanes
from advisor.plan.partial import guess, may_be_partial, settled
from advisor.plan.planner import find_best, open_search
from advisor.plan.search import Clock, Question, Search, micro_batches
from advisor.records import (
    Allocator,
    Checkpointing,
    GpuSpec,
    Loss,
    Method,
    ModelSpec,
    Precision,
    TrainConfig,
)
from advisor.tape.regime import EDGE_PARTS
from bench.order import most_informative_first
from bench.request import STEPS, Request

_PRECISIONS = (Precision.BF16, Precision.FP16, Precision.NF4, Precision.INT8)
_BASES = 3  # of the fastest, so many are varied in every other dimension too
_OPTIMIZERS = ("adamw_8bit", "paged_adamw_8bit", "adamw_torch")
_BOLDER_LAYERS = 2
_MOST_ALIKE = 3  # of the fast ones, so many may differ in optimizer and allocator alone
_FAST_SHARE = 0.5  # of the rivals: those that the clock thinks fastest; the rest are as unlike as can be


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One model under one cap."""

    model: ModelSpec
    cap_bytes: int
    goal: Goal
    sequences_a_step: int  # of every row
    plan: Request
    rivals: tuple[Request, ...]


def make_contest(  # noqa: PLR0913 - what a contest is between
    model: ModelSpec,
    gpu: GpuSpec,
    cap_bytes: int,
    estimator: Estimator,
    *,
    options: PlanOptions,
    rivals: int,
    seconds_a_row: float,
    clock: Clock | None = None,
) -> Contest:
    """The plan for the card under the cap and so many rivals that are predicted to run under it.

    Raises: AdvisorError where the cap is more than the card gives, nothing fits, or there are not so many rivals.
    """
    if options.goal in STRETCHED:
        raise AdvisorError(f"--goal {options.goal.value} is not about speed.", fix="fastest or quality")
    search = search_under(model, gpu, cap_bytes, estimator, options, clock)
    found = find_best(search, lanes(gpu, search.ask.options, model))
    if found is None:
        raise AdvisorError(f"Nothing fits: {model.name} under {cap_bytes:,} bytes.", exit_code=ExitCode.NO)
    sequences = _sequences_a_step(search.ask, found.config, seconds_a_row)
    plan = shortened(found.config, sequences)
    others = [one for one in _rivals(search, plan, sequences) if one != plan]
    chosen = _chosen(search.ask, others, plan, rivals, cap_bytes)
    if len(chosen) < rivals:
        raise AdvisorError(
            f"Only {len(chosen)} rivals of the plan for {model.name} are predicted to run under that cap.",
            fix=f"--alternatives {len(chosen)}, a larger cap, or a smaller model",
            exit_code=ExitCode.NO,
        )
    return Contest(
        model=model,
        cap_bytes=cap_bytes,
        goal=options.goal,
        sequences_a_step=sequences,
        plan=_request(search.ask, plan, cap_bytes),
        rivals=tuple(chosen),
    )


def search_under(  # noqa: PLR0913 - as above
    model: ModelSpec,
    gpu: GpuSpec,
    cap_bytes: int,
    estimator: Estimator,
    options: PlanOptions,
    clock: Clock | None = None,
) -> Search:
    """A search whose room is the cap.

    Raises: AdvisorError where the card gives less.
    """
    reserve = usable_bytes(gpu) - cap_bytes
    if reserve < 0:
        raise AdvisorError(f"{gpu.name} gives less than the cap.", fix="a smaller --cap, or a larger card")
    return open_search(model, gpu, replace(options, reserve_bytes=reserve), estimator, clock)


def shortened(config: TrainConfig, sequences: int) -> TrainConfig:
    """The config with a step of so many sequences, as the rows of a contest are measured."""
    return replace(config, accumulation_steps=max(1, sequences // config.micro_batch))


def _sequences_a_step(ask: Question, config: TrainConfig, seconds_a_row: float) -> int:
    """The effective batch, halved until a row lasts no longer; never less than the plan's micro-batch."""
    sequences = config.effective_batch
    while sequences % 2 == 0 and sequences // 2 >= config.micro_batch:
        step = ask.clock(ask.model, shortened(config, sequences), ask.gpu)
        if step.value * STEPS <= seconds_a_row:
            break
        sequences //= 2
    return sequences


def _rivals(search: Search, plan: TrainConfig, sequences: int) -> list[TrainConfig]:
    """All precisions, both checkpointings, all micro-batches; the fastest of these varied in all else."""
    ask = search.ask
    sizes = micro_batches(replace(ask.options, effective_batch=sequences, micro_batch=None))
    shapes = [
        shortened(at_micro_batch(replace(lane.config, checkpointing=kind), size, ask.options), sequences)
        for lane in _ways(ask)
        for kind in (Checkpointing.NONE, recomputing(lane.config))
        for size in sizes
    ]
    ask.prepare(shapes)
    runs = _fastest_first(ask, [config for config in shapes if _may_run(ask, config)])
    partly = [other for base in runs if may_be_partial(ask, base) for other in _partly(search, base)]
    runs = _fastest_first(ask, [*runs, *partly])
    varied = [other for base in (plan, *runs[:_BASES]) for other in _varied(base)]
    ask.prepare(varied)
    return list(dict.fromkeys((*runs, *(config for config in varied if _may_run(ask, config)))))


def _partly(search: Search, base: TrainConfig) -> list[TrainConfig]:
    """With as few checkpointed layers as surely fit, and with fewer still, which may yet run."""
    ask = search.ask
    lane = next(lane for lane in _ways(ask) if lane.config.precision is base.precision)
    hint = replace(base, micro_batch=max(2, base.micro_batch))
    guessed = guess(ask, search.examine(lane, base), hint)
    if guessed is None:
        return []
    found = settled(ask, guessed.config, partial(search.prove_config, lane))
    if found is None or found.config.checkpointed_layers is None:
        return []
    bolder = found.config.checkpointed_layers - _BOLDER_LAYERS
    fewer = [replace(found.config, checkpointed_layers=bolder)] if bolder >= EDGE_PARTS else []
    return [found.config, *(config for config in fewer if _may_run(ask, config))]


def _ways(ask: Question) -> list[Lane]:
    """Adapters over each base that the card computes."""
    options = replace(ask.options, method=Method.LORA, precision=None)
    made = lanes(ask.gpu, options, ask.model)
    return [lane for lane in made if lane.config.precision in _PRECISIONS and not lane.unsupported]


def _varied(base: TrainConfig) -> Iterator[TrainConfig]:
    """One change alone, and growing segments with each."""
    changed = [
        replace(base, loss=Loss.STOCK),
        *(replace(base, optimizer=name) for name in _OPTIMIZERS if name != base.optimizer),
    ]
    changed += [
        replace(base, checkpointing=kind) for kind in Checkpointing if _recomputes_otherwise(base, kind)
    ]
    for one in (base, *changed):
        yield one
        yield replace(one, allocator=Allocator.EXPANDABLE)


def _recomputes_otherwise(base: TrainConfig, kind: Checkpointing) -> bool:
    return Checkpointing.NONE not in (base.checkpointing, kind) and kind is not base.checkpointing


def _may_run(ask: Question, config: TrainConfig) -> bool:
    """Whether the tensors alone leave it a chance, without the plan's caution: a rival may be bolder."""
    try:
        return ask.estimator.least_bytes(ask.model, config, ask.gpu) <= ask.room_bytes
    except AdvisorError:
        return False  # it can't be traced, so nothing can be said of it


def _fastest_first(ask: Question, configs: Iterable[TrainConfig]) -> list[TrainConfig]:
    return sorted(configs, key=lambda config: -_speed(ask, config))


def _speed(ask: Question, config: TrainConfig) -> float:
    return config.tokens_per_step / ask.clock(ask.model, config, ask.gpu).value


def _chosen(
    ask: Question, rivals: list[TrainConfig], plan: TrainConfig, count: int, cap_bytes: int
) -> list[Request]:
    """Half the fastest by the clock, the others as unlike these as can be; all run under the cap, as predicted."""
    fast: list[Request] = []
    left: list[TrainConfig] = []
    alike = Counter([_shape(plan)])
    for config in _fastest_first(ask, rivals):
        if len(fast) == int(count * _FAST_SHARE) or alike[_shape(config)] == _MOST_ALIKE:
            left.append(config)
        elif made := _that_run(ask, [config], cap_bytes):
            fast += made
            alike[_shape(config)] += 1
    unlike = [Request(model=ask.model, config=config, cap_bytes=cap_bytes) for config in left]
    done = [Request(model=ask.model, config=plan, cap_bytes=cap_bytes), *fast]
    others: list[Request] = []
    for request in most_informative_first(unlike, done) if unlike else ():
        if len(fast) + len(others) == count:
            break
        others += _that_run(ask, [request.config], cap_bytes)
    return [*fast, *others]


def _shape(config: TrainConfig) -> tuple[object, ...]:
    """What decides most of the speed."""
    return config.precision, config.checkpointing, config.checkpointed_layers, config.micro_batch, config.loss


def _that_run(ask: Question, configs: Iterable[TrainConfig], cap_bytes: int) -> list[Request]:
    made = []
    for config in configs:
        capped = ask.estimator.outcome(ask.model, config, ask.gpu, cap_bytes=cap_bytes)
        if not capped.out_of_memory:
            made.append(_request(ask, config, cap_bytes))
    return made


def _request(ask: Question, config: TrainConfig, cap_bytes: int) -> Request:
    free = ask.estimator.outcome(ask.model, config, ask.gpu)
    return Request(
        model=ask.model, config=config, cap_bytes=cap_bytes, predicted_bytes=free.peak_reserved_bytes
    )
