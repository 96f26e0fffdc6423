"""Which models of the catalog a card can train, the largest first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from advisor.estimate import Estimator
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import find_best, open_search
from advisor.plan.search import Clock, Examined, Search, is_free
from advisor.records import GpuSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class OfModel:
    """One model on the card."""

    model: ModelSpec
    fits: bool | None  # None: not traced, and a smaller question was asked
    found: Examined | None = None
    needed_bytes: int = 0  # at least
    how: str = ""


def of_models(  # noqa: PLR0913 - what the answer depends on
    models: Iterable[ModelSpec],
    gpu: GpuSpec,
    options: PlanOptions,
    estimator: Estimator,
    *,
    trace_all: bool = False,
    clock: Clock | None = None,
) -> Iterator[OfModel]:
    """Each model with its best on the card, the largest first.

    Until one fits, models are traced where they must be, in the way that needs least; smaller ones only where their
    tapes are at hand, or with `trace_all`.
    """
    some_fit = False
    for model in sorted(models, key=lambda model: -model.parameters):
        answer = _of_model(model, gpu, options, estimator, may_trace=trace_all or not some_fit, clock=clock)
        some_fit |= answer.fits is True
        yield answer


def _of_model(  # noqa: PLR0913 - as above
    model: ModelSpec,
    gpu: GpuSpec,
    options: PlanOptions,
    estimator: Estimator,
    *,
    may_trace: bool,
    clock: Clock | None,
) -> OfModel:
    search = open_search(model, gpu, replace(options, goal=Goal.LEAST_MEMORY), estimator, clock)
    ways = [lane for lane in lanes(gpu, options, model) if is_free(lane, search.ask) and not lane.unsupported]
    least = min(lane.floor_bytes(model) for lane in ways)
    if least > search.ask.room_bytes:
        return OfModel(model=model, fits=False, needed_bytes=least, how="the weights alone")
    smallest = min(ways, key=lambda lane: lane.floor_bytes(model))
    at_hand = search.ask.has_tape(smallest.with_shape(1, search.ask.options, smallest.checkpointing))
    if not at_hand and not may_trace:
        return OfModel(model=model, fits=None, needed_bytes=least, how="not traced; --thorough does")
    found = find_best(search, [smallest])
    if found is None:
        return OfModel(model=model, fits=False, needed_bytes=_least(search), how=smallest.label)
    if not at_hand:
        return OfModel(
            model=model, fits=True, found=found, needed_bytes=found.needed_bytes, how=smallest.label
        )
    best = find_best(open_search(model, gpu, options, estimator, clock), ways) or found
    return OfModel(model=model, fits=True, found=best, needed_bytes=best.needed_bytes, how=best.lane.label)


def _least(search: Search) -> int:
    return min((one.needed_bytes for one in search.seen.values() if not one.why_not), default=0)
