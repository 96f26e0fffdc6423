"""What several tests of the simulation need: small models of each architecture, and tapes as plain lists."""

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

from advisor.records import TrainConfig
from advisor.simulate.trace import trace
from advisor.tape.events import Op
from advisor.tape.record import Tape, unroll
from advisor.tape.regime import Regime, regime_of
from advisor.tape.target import Target

H200 = Target((9, 0), 132)

# No number here is a product of small powers of two alone where a shape of a test is: a batch of 2 x 1024
# tokens must not look like the vocabulary.
_SMALL = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 5003,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "sliding_window": None,
}


def facts(model_type: str = "llama", **changes: Any) -> dict[str, Any]:
    """The config.json of a small model of that architecture."""
    return _SMALL | {"model_type": model_type} | changes


def traced(
    model: dict[str, Any],
    config: TrainConfig,
    *,
    whole: bool = False,
    exact: bool = False,
    card: Target = H200,
) -> Tape:
    """The tape of the config; `exact`: of its very shape, with no symbols in it."""
    shape = (config.micro_batch, config.sequence_length)
    regime = Regime(config.micro_batch == 1, exact=shape) if exact else regime_of(config, model)
    return trace(model, config, card, regime, whole=whole)


def lived(tape: Tape, config: TrainConfig, card: Target = H200) -> list[tuple[Any, ...]]:
    """Everything that happens in the whole model at the config's shape on the card, with each slot by its age.

    Two tapes that give the same list allocate the same bytes, free the same allocations, and run the same
    kernels, in the same order; and they call every allocation the same category.
    """
    batch, length = config.micro_batch, config.sequence_length
    there = batch, length, tape.further_layers, card.multiprocessors
    sizes = [size.at(*there) for size in tape.sizes]
    kernels = [
        (k.kind, *(sum(size.at(*there) for size in sizes) for sizes in (k.operations, k.moved)))
        for k in tape.kernels
    ]
    ages: dict[int, int] = {}
    happened: list[tuple[Any, ...]] = []
    for event in unroll(tape, tape.further_tiles(batch, length)):
        if event.op == Op.ALLOC:
            ages[event.a] = len(ages)
            label = tape.labels[event.label]
            happened.append(("alloc", ages[event.a], sizes[event.b], label.category, label.op))
        elif event.op == Op.FREE:
            happened.append(("free", ages[event.a]))
        elif event.op == Op.KERNEL:
            happened.append(("kernel", *kernels[event.a]))
        else:
            happened.append(("phase", tape.phases[event.a]))
    return happened


def first_difference(left: list[Any], right: list[Any]) -> Any:
    """Where two lists part, with what each has there; None where they are equal."""
    for index, pair in enumerate(zip(left, right, strict=False)):
        if pair[0] != pair[1]:
            return index, *pair
    return None if len(left) == len(right) else (min(len(left), len(right)), len(left), len(right))


def every_pair(choices: dict[str, tuple[Any, ...]], allowed: Any) -> list[dict[str, Any]]:
    """A short list of rows in which every two values that may meet do meet once."""
    rows = [dict(zip(choices, row, strict=True)) for row in product(*choices.values())]
    rows = [row for row in rows if allowed(row)]
    wanted = set().union(*map(_pairs, rows))
    chosen: list[dict[str, Any]] = []
    while wanted:
        best = max(rows, key=lambda row: len(wanted.intersection(_pairs(row))))
        chosen.append(best)
        wanted.difference_update(_pairs(best))
    return chosen


def _pairs(row: dict[str, Any]) -> Iterator[Any]:
    return combinations(row.items(), 2)
