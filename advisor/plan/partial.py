"""Checkpointing only as many layers as must be: what room is left over buys back their recomputation.

The need falls, and the time grows, in a line with the layers that are recomputed. So a guess between the two ends
says what such a config may score; only where that is promising is it traced, bounded and replayed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.errors import AdvisorError
from advisor.plan.dimensions import recomputing
from advisor.records import Checkpointing, Interval, TrainConfig
from advisor.tape.regime import EDGE_PARTS, layers_are_alike

if TYPE_CHECKING:
    from advisor.plan.search import Examined, Question

_OPTIMISM = 1.05  # of the room: a straight line overstates the need of a few layers
_RECOMPUTED_SHARE = 0.25  # of a step, the forward pass again: where the plain step's own time is not known
_TRIES = 3

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
    """The fewest layers that a replay lets in; None where none but the ends would do."""
    layers = layers_of(ask)

    def at(count: int) -> TrainConfig:
        return replace(guessed, checkpointed_layers=count)

    low, high = EDGE_PARTS, layers - EDGE_PARTS
    try:
        if ask.bound(at(high)) > ask.room_bytes:
            return None
        while low < high:
            middle = (low + high) // 2
            if ask.bound(at(middle)) <= ask.room_bytes:
                high = middle
            else:
                low = middle + 1
        a_layer = max(1, ask.bound(at(EDGE_PARTS)) - ask.bound(at(layers - EDGE_PARTS))) // (
            layers - 2 * EDGE_PARTS or 1
        )
    except AdvisorError:
        return None
    count = low
    for _ in range(_TRIES):
        one = prove(at(count))
        if one.fits or one.why_not:
            return one if one.fits else None
        count += max(1, -(-(one.needed_bytes - ask.room_bytes) // a_layer))
        if count > layers - EDGE_PARTS:
            return None
    return None
