"""What was not chosen, each way to train once, with the number that decided."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from advisor.plan.document import Alternative
from advisor.plan.goals import Goal, score
from advisor.plan.lanes import Lane, at_micro_batch
from advisor.plan.search import Examined, Search, half_precision, micro_batches
from advisor.plan.worth import passed_over, worth
from advisor.records import Allocator, Checkpointing, Method, Reason


def alternatives(search: Search, lanes: Sequence[Lane], chosen: Examined) -> Iterator[Alternative]:
    """Of the chosen way what was tried beside it, then every other way."""
    yield from _beside(search, chosen)
    for lane in lanes:
        if lane.label != chosen.lane.label:
            yield _of_lane(search, lane, chosen)


def hopeless(search: Search, lane: Lane) -> Alternative | None:
    """The way, where the card can't do it, or its weights alone are too many and no tape is at hand."""
    floor = lane.floor_bytes(search.ask.model)
    small = _smallest(search, lane)
    if lane.unsupported:
        reason = Reason(code="unsupported", text=lane.unsupported)
    elif floor > search.ask.room_bytes and not search.ask.has_tape(small.config):
        reason = Reason(code="too-many-weights", text=f"{lane.floor_is_of} alone")
    else:
        return None
    return Alternative(
        label=lane.label, config=small.config, needed_bytes=floor, lower_bound=True, reason=reason
    )


def of_lane_that_failed(search: Search, lane: Lane) -> Alternative:
    """The least that the way needs, which is too much."""
    lost = hopeless(search, lane)
    if lost is not None:
        return lost
    known = [one for one in search.seen.values() if one.lane.label == lane.label and not one.why_not]
    if not known:
        return _not_traced(search, lane)
    return _lost(min(known, key=lambda one: one.needed_bytes), "does-not-fit", "does not fit")


def _smallest(search: Search, lane: Lane) -> Examined:
    options = search.ask.options
    kind = options.checkpointing or lane.checkpointing
    config = lane.with_shape(min(micro_batches(options)), options, kind)
    return search.seen.get(config, Examined(lane=lane, config=config))


def _beside(search: Search, chosen: Examined) -> Iterator[Alternative]:
    """The chosen way without checkpointing, and with the next larger micro-batch."""
    ask, config = search.ask, chosen.config
    of_lane = [one for one in search.seen.values() if one.lane.label == chosen.lane.label]
    if config.checkpointing is not Checkpointing.NONE and ask.options.checkpointing is None:
        plain = [one for one in of_lane if one.config.checkpointing is Checkpointing.NONE and not one.why_not]
        if plain:
            yield _compared(
                ask.options.goal, _best_of(plain, ask.options.goal), chosen, "without checkpointing"
            )
    if config.checkpointed_layers is not None and ask.options.checkpointed_layers is None:
        whole = search.seen.get(replace(config, checkpointed_layers=None, allocator=Allocator.DEFAULT))
        if whole is not None:
            yield _compared(ask.options.goal, whole, chosen, "with all layers checkpointed")
    if ask.options.goal is not Goal.LARGEST_BATCH:
        yield from _next_larger(search, chosen)


def _next_larger(search: Search, chosen: Examined) -> Iterator[Alternative]:
    """The next larger micro-batch; by a hint of the chosen shape's tape where its own is not at hand."""
    ask = search.ask
    config = replace(chosen.config, checkpointed_layers=ask.options.checkpointed_layers)
    larger = [n for n in micro_batches(ask.options) if n > config.micro_batch]
    if not larger:
        return
    like, how = at_micro_batch(config, larger[-1], ask.options), f"with micro-batch {larger[-1]}"
    one = search.seen.get(like)
    if one is None and ask.has_tape(like):
        one = search.examine(chosen.lane, like)
    if one is None or one.why_not:
        least = ask.bound(like, config)
        one = Examined(lane=chosen.lane, config=like, needed_bytes=least, fits=least <= ask.room_bytes)
        if one.fits:
            return  # a hint can say that it is too much, not that it would be faster
    yield _compared(ask.options.goal, one, chosen, how)


def _of_lane(search: Search, lane: Lane, chosen: Examined) -> Alternative:
    lost = hopeless(search, lane)
    if lost is not None:
        return lost
    known = [one for one in search.seen.values() if one.lane.label == lane.label and not one.why_not]
    small = _smallest(search, lane)
    if not known and search.ask.has_tape(small.config):
        known = [search.examine(lane, small.config)]
    if not known:
        return _not_traced(search, lane)
    best = _best_of(known, search.ask.options.goal)
    why = passed_over(lane.config, half_precision(search.ask.gpu))
    if best.fits and why:
        return _lost(best, "not-preferred", why)
    if best.fits and search.ask.options.method is None and lane.config.method is not Method.LORA:
        return _lost(
            best, "not-preferred", f"only where it is asked for: --method {lane.config.method.value}"
        )
    return _compared(search.ask.options.goal, best, chosen)


def _best_of(known: Sequence[Examined], goal: Goal) -> Examined:
    """The best of those that fit, else the one that needs least."""
    fitting = [one for one in known if one.fits]
    if fitting:
        return max(fitting, key=lambda one: score(goal, one.config, one.tokens_per_second, one.needed_bytes))
    return min(known, key=lambda one: one.needed_bytes)


def _compared(goal: Goal, one: Examined, chosen: Examined, how: str = "") -> Alternative:
    if not one.fits:
        needs = "needs-checkpointing" if how == "without checkpointing" else "does-not-fit"
        return _lost(one, needs, "does not fit", how)
    mine, theirs = chosen.tokens_per_second, one.tokens_per_second
    text = f"{theirs:,.0f} tokens/s, the choice {mine:,.0f}"
    weight = worth(one.config) / worth(chosen.config)
    if goal is Goal.QUALITY and abs(weight - 1) > 0.005:
        text += f"; its speed counts {weight:.2f} times as much"
    return _lost(one, "not-preferred", text, how)


def _lost(one: Examined, code: str, text: str, how: str = "") -> Alternative:
    return Alternative(
        label=f"{one.lane.label} {how}".strip(),
        config=one.config,
        needed_bytes=one.needed_bytes,
        lower_bound=not one.exact,
        reason=Reason(code=code, text=text),
        tokens_per_second=one.tokens_per_second or None,
    )


def _not_traced(search: Search, lane: Lane) -> Alternative:
    why = passed_over(lane.config, half_precision(search.ask.gpu)) or "not needed"
    return Alternative(
        label=lane.label,
        config=_smallest(search, lane).config,
        needed_bytes=lane.floor_bytes(search.ask.model),
        lower_bound=True,
        reason=Reason(
            code="not-examined", text=f"{why}; {lane.floor_is_of} alone, not traced (--thorough does)"
        ),
    )
