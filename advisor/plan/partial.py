"""Checkpointing only as many layers as must be: what room is left over buys back their recomputation.

The need falls, and the time grows, in a line with the layers that are recomputed. So a guess between the two ends
says what such a config may score; only where that is promising is it traced, bounded and replayed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.errors import AdvisorError
from advisor.plan.dimensions import recomputing
from advisor.records import Allocator, Checkpointing, Interval, TrainConfig
from advisor.tape.regime import EDGE_PARTS, layers_are_alike

if TYPE_CHECKING:
    from advisor.plan.search import Examined, Question

_OPTIMISM = 1.05  # of the room: a straight line overstates the need of a few layers
_RECOMPUTED_SHARE = 0.25  # of a step, the forward pass again: where the plain step's own time is not known
_TRIES = 3
_WORTH_GROWING = 4  # layers: as much as fixed segments must cost before growing ones are tried

Prove = Callable[[TrainConfig], "Examined"]


def layers_of(ask: "Question") -> int:
    """The model's decoder layers, where any number of them may be checkpointed by one tape; else 0."""
    facts = ask.model.config
    return int(facts.get("num_hidden_layers") or 0) if layers_are_alike(facts) else 0


def may_be_partial(ask: "Question", config: TrainConfig) -> bool:
    """Whether the config checkpoints all layers and the plan is free to leave some out."""
    free = ask.options.checkpointed_layers is None and ask.options.checkpointing is None
    whole = config.checkpointed_layers is None and config.checkpointing is recomputing(config)
    return free and whole and layers_of(ask) >= 2 * EDGE_PARTS


def guess(ask: "Question", whole: "Examined", hint: TrainConfig) -> "Examined | None":
    """The fewest layers that a straight line lets in, and the time that goes with them; None where all must be.

    `whole` checkpoints all layers and has its time; `hint` is one whose tape tells how both ends grow.
    """
    layers, plain = layers_of(ask), replace(whole.config, checkpointing=Checkpointing.NONE)
    try:
        low = ask.bound(whole.config, hint)
        high = ask.bound(plain, replace(hint, checkpointing=Checkpointing.NONE))
    except AdvisorError:
        return None
    room = ask.room_bytes * _OPTIMISM
    if whole.step_seconds is None or low > room or high <= ask.room_bytes:
        return None
    kept = min(layers - EDGE_PARTS, int(layers * (room - low) / max(1, high - low)))
    if kept < EDGE_PARTS:
        return None
    slow = whole.step_seconds.value
    known = ask.has_tape(plain)
    fast = ask.clock(ask.model, plain, ask.gpu).value if known else slow * (1 - _RECOMPUTED_SHARE)
    value = slow - (slow - fast) * kept / layers
    config = replace(whole.config, checkpointed_layers=layers - kept)
    return replace(
        whole,
        config=config,
        known=type(whole.known).HINT,
        needed_bytes=low,
        step_seconds=Interval(value=value, low=value, high=value),
    )


def settled(ask: "Question", guessed: TrainConfig, prove: Prove) -> "Examined | None":
    """The fewest layers that a replay lets in; None where none but the ends would do.

    Where fixed segments cost several layers, growing ones are tried.
    """
    low, high = EDGE_PARTS, layers_of(ask) - EDGE_PARTS

    def bound(count: int) -> int:
        return ask.bound(replace(guessed, checkpointed_layers=count))

    try:
        if bound(high) > ask.room_bytes:
            return None
        least = _first(low, high, lambda count: bound(count) <= ask.room_bytes)
        a_layer = max(1, (bound(low) - bound(high)) // max(1, high - low))
    except AdvisorError:
        return None
    found = _proven(ask, guessed, least, a_layer, prove)
    lost = high - least if found is None else (found.config.checkpointed_layers or high) - least
    if lost < _WORTH_GROWING or ask.options.allocator is not None:
        return found
    growing = replace(guessed, allocator=Allocator.EXPANDABLE)
    return _proven(ask, growing, least, a_layer, prove) or found


def _first(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The smallest count that fits; the largest is known to."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _proven(
    ask: "Question", guessed: TrainConfig, count: int, a_layer: int, prove: Prove
) -> "Examined | None":
    """From the count up, by as many layers as a replay was too much; None where it takes too many."""
    for _ in range(_TRIES):
        if count > layers_of(ask) - EDGE_PARTS:
            break
        one = prove(replace(guessed, checkpointed_layers=count))
        if one.fits or one.why_not:
            return one if one.fits else None
        count += max(1, -(-(one.needed_bytes - ask.room_bytes) // a_layer))
    return None
