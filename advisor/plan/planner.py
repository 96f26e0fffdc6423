"""From a model, a card and what the user fixed to a plan: what is best, why, and what lost."""

from collections.abc import Sequence
from dataclasses import replace

from advisor.catalog.traps import traps_for
from advisor.errors import AdvisorError, ExitCode
from advisor.estimate import COARSE, Estimator
from advisor.plan.document import Alternative, Card, Model, Plan
from advisor.plan.front import front
from advisor.plan.goals import STRETCHED
from advisor.plan.lanes import Lane, PlanOptions, lanes
from advisor.plan.reasons import assumptions, choices
from advisor.plan.rejected import alternatives, of_lane_that_failed
from advisor.plan.room import checked_risk, room_bytes
from advisor.plan.search import Clock, Examined, Question, Search, is_free
from advisor.plan.stretch import stretch
from advisor.records import GpuSpec, ModelSpec
from advisor.tape.versions import installed_versions
from advisor.units import gib

_LONGEST_HALVINGS = 4  # when nothing fits, how often to halve the sequence to find what would


def make_plan(  # noqa: PLR0913 - model, card and wishes; the others have defaults
    model: ModelSpec,
    gpu: GpuSpec,
    options: PlanOptions,
    estimator: Estimator,
    *,
    clock: Clock | None = None,
    assumed: tuple[str, ...] = (),
    command: str = "",
) -> Plan:
    """The plan for the model on the card; `clock` gives seconds of a step, the estimator's where it is None.

    Raises: AdvisorError where nothing that the user allows fits, with the nearest change that would.
    """
    search = open_search(model, gpu, options, estimator, clock)
    ways = lanes(gpu, options, model)
    found = find_best(search, ways)
    if found is None:
        raise _nothing_fits(search, ways)
    lost = tuple(alternatives(search, ways, found))
    config = found.config
    return Plan(
        model=Model(name=model.name, parameters=model.parameters, source=model.source, config=model.config),
        card=Card(
            name=gpu.name,
            memory_bytes=gpu.memory_bytes,
            board_bytes=gpu.board_bytes or gpu.memory_bytes,
            usable_bytes=search.ask.room_bytes,
            context_bytes=gpu.context_bytes,
        ),
        config=config,
        estimate=estimator.estimate(model, config, gpu, halvings=COARSE),
        choices=tuple(choices(search.ask, found, lost)),
        alternatives=lost,
        assumptions=(*assumed, *assumptions(search.ask, found)),
        traps=traps_for(gpu, config, model, reserve_bytes=options.reserve_bytes),
        command=command,
        versions=installed_versions(),
        goal=options.goal.value,
        risk=options.risk,
        front=front(search, found, prove_all=options.thorough),
        examined=len(search.seen),
    )


def open_search(
    model: ModelSpec, gpu: GpuSpec, options: PlanOptions, estimator: Estimator, clock: Clock | None = None
) -> Search:
    """A search that has looked at nothing yet.

    Raises: AdvisorError where the reserve or the risk makes no sense.
    """
    return Search(
        Question(
            model=model,
            gpu=gpu,
            options=replace(options, risk=checked_risk(options.risk)),
            estimator=estimator,
            clock=clock or estimator.step_seconds,
            room_bytes=room_bytes(gpu, options.reserve_bytes),
        )
    )


def find_best(search: Search, ways: Sequence[Lane]) -> Examined | None:
    """The best by the goal among the ways that a plan is free to choose; None where nothing fits."""
    ask = search.ask
    free = [lane for lane in ways if is_free(lane, ask)]
    possible = [lane for lane in free if not lane.unsupported]
    hopeful = [lane for lane in possible if lane.floor_bytes(ask.model) <= ask.room_bytes]
    return stretch(search, hopeful) if ask.options.goal in STRETCHED else search.best(hopeful)


def _nothing_fits(search: Search, ways: Sequence[Lane]) -> AdvisorError:
    ask = search.ask
    free = [lane for lane in ways if is_free(lane, ask) and not lane.unsupported]
    if not free:
        return AdvisorError(
            "No way to train is left.",
            why="the method and the precision that were asked for exclude each other, or the card can't do them",
            fix="quantised weights train with --method lora only",
        )
    least = min((of_lane_that_failed(search, lane) for lane in free), key=lambda lost: lost.needed_bytes)
    atleast = "at least " if least.lower_bound else ""
    return AdvisorError(
        f"Nothing fits: {ask.model.name} on {ask.gpu.name}.",
        why=f"the smallest, {least.label}, needs {atleast}{gib(least.needed_bytes)} of {gib(ask.room_bytes)}"
        f" at a risk of {ask.options.risk:.1%}",
        fix=_way_out(search, free, least),
        exit_code=ExitCode.NO,
    )


def _way_out(search: Search, free: Sequence[Lane], least: Alternative) -> str:
    """The longest sequence that would fit, else the memory to look for."""
    ask = search.ask
    lane = next(lane for lane in free if least.label.startswith(lane.label))
    if lane.floor_bytes(ask.model) <= ask.room_bytes:
        for length in _shorter(ask.options.sequence_length):
            config = replace(least.config, sequence_length=length)
            if ask.bound(config, least.config) <= ask.room_bytes:
                one = search.prove(search.examine(lane, config))
                if one.fits:
                    return f"--sequence-length {length} fits; or a card with more memory"
    return f"a card that gives at least {gib(least.needed_bytes)}, or a smaller model"


def _shorter(length: int) -> list[int]:
    halves = (length >> n for n in range(1, _LONGEST_HALVINGS + 1))
    return [shorter for shorter in halves if shorter > 1]
