"""The longest sequence, or the largest micro-batch, that still fits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from advisor.plan.goals import STRETCHED, Goal
from advisor.plan.lanes import Lane, PlanOptions
from advisor.plan.search import Examined, Question, Search
from advisor.records import TrainConfig

_LENGTH_STEP = 256  # tokens: a plan does not count single ones
_HINT_TOKENS = 2048  # what ships was traced at this length
_HINT_BATCH = 2  # a tape of micro-batch 1 does not tell how others grow
_LONGEST = 1 << 20  # tokens, where the model does not say how many positions it knows
_LARGEST_BATCH = 1 << 12
_TRIES = 8  # sizes to replay of one way to train


@dataclass(frozen=True, slots=True)
class Track:
    """What is stretched: a config for each size, in steps of one, from the smallest to the largest."""

    steps: int
    hint: int  # the step whose tape tells how the others grow
    at: Callable[[int], TrainConfig]


def stretch(search: Search, lanes: Iterable[Lane]) -> Examined | None:
    """The config that goes farthest; of those that go as far, the fastest. None where nothing fits."""
    best: Examined | None = None
    for lane, track, reach in _promising(search, lanes):
        if best is not None and reach < _reached(search.ask, best):
            break
        found = _farthest(search, lane, track, reach)
        if found is not None and (best is None or _rank(search.ask, found) > _rank(search.ask, best)):
            best = found
    return best


def _promising(search: Search, lanes: Iterable[Lane]) -> list[tuple[Lane, Track, int]]:
    """Every way to train with how far its bound lets it go, the farthest first."""
    ask = search.ask
    ways = []
    for lane in lanes:
        if lane.unsupported or lane.floor_bytes(ask.model) > ask.room_bytes:
            continue
        ways += [(lane, _track(ask, config)) for config in lane.variants(ask.options)]
    ask.prepare(track.at(track.hint) for _, track in ways)
    traced = [(lane, track) for lane, track in ways if not search.examine(lane, track.at(track.hint)).why_not]
    found = [(lane, track, _reach(search, track)) for lane, track in traced]
    return sorted((each for each in found if each[2]), key=lambda each: -each[2])


def _track(ask: Question, config: TrainConfig) -> Track:
    options = ask.options
    if ask.options.goal is Goal.LARGEST_BATCH:
        return Track(_LARGEST_BATCH, _HINT_BATCH, lambda size: _of_batch(config, size, options))
    positions = ask.model.config.get("max_position_embeddings")
    longest = positions if isinstance(positions, int) else _LONGEST
    micro = options.micro_batch or 1
    base = replace(
        config,
        micro_batch=micro,
        accumulation_steps=options.effective_batch // micro,
    )
    steps = max(1, longest // _LENGTH_STEP)
    hint = min(steps, _HINT_TOKENS // _LENGTH_STEP)
    return Track(steps, hint, lambda size: replace(base, sequence_length=min(longest, size * _LENGTH_STEP)))


def _of_batch(config: TrainConfig, size: int, options: PlanOptions) -> TrainConfig:
    """So many sequences at a time, and no more of them in a step than the effective batch has, but for one pass."""
    steps = max(1, options.effective_batch // size)
    return replace(config, micro_batch=size, accumulation_steps=steps)


def _reach(search: Search, track: Track) -> int:
    """The last step that may fit, read off the tape of the hint; 0 where none does."""
    ask, hint = search.ask, track.at(track.hint)
    low, high = 0, track.steps
    while low < high:
        middle = (low + high + 1) // 2
        if ask.bound(track.at(middle), hint) <= ask.room_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _farthest(search: Search, lane: Lane, track: Track, reach: int) -> Examined | None:
    """The farthest step that a replay proves: below one that fails by as much as it was too far, then by halves."""
    room, step, above = search.ask.room_bytes, reach, reach + 1
    fixed = search.ask.bound(track.at(1), track.at(track.hint))
    found: tuple[int, Examined] | None = None
    for _ in range(_TRIES):
        one = search.prove_with_some_allocator(lane, track.at(step))
        if one.why_not:
            break
        if one.fits:
            found = step, one
        else:
            above = step
        below = found[0] if found else 0
        if above - below <= 1:
            break
        nearest = step * (room - fixed) // max(1, one.needed_bytes - fixed)
        step = (below + above) // 2 if found else max(1, min(above - 1, nearest))
    return found[1] if found else None


def _reached(ask: Question, one: Examined) -> int:
    size = int(getattr(one.config, STRETCHED[ask.options.goal]))
    return size if ask.options.goal is Goal.LARGEST_BATCH else size // _LENGTH_STEP


def _rank(ask: Question, one: Examined) -> tuple[int, float]:
    return _reached(ask, one), one.tokens_per_second
