"""In which order to measure, so that a budget that ends early has bought the most.

Farthest first: each next config is the one least like all those before it. So the first few span every precision,
method and size, and later ones fill in.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.request import Request

# Two configs that differ in a choice differ by one; a doubling of a size counts as much as this.
_DOUBLING = 0.25
_CHOICES = (
    *("method", "precision", "autocast", "checkpointing", "optimizer", "attention", "loss", "loop"),
    *(
        "adapter_dtype",
        "kbit_prepare",
        "allocator",
        "checkpointed_layers",
        "lora_variant",
        "cast_adapter_inputs",
        "fused_adapters",
    ),
)

Points = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def most_informative_first(requests: Sequence[Request], done: Sequence[Request] = ()) -> list[Request]:
    """The requests, farthest from what is done and what came before them first; equal ones as given."""
    points = _points([*requests, *done])
    ours, theirs = points[: len(requests)], points[len(requests) :]
    nearest = np.full(len(requests), np.inf)
    for point in theirs:
        nearest = np.minimum(nearest, _distances(ours, point))
    order = []
    for _ in requests:
        chosen = int(np.argmax(nearest))
        order.append(requests[chosen])
        nearest = np.minimum(nearest, _distances(ours, ours[chosen]))
        nearest[chosen] = -1  # taken
    return order


def _distances(points: Points, point: Any) -> Any:
    return np.abs(points - point).sum(axis=1)


def _points(requests: Sequence[Request]) -> Points:
    """A row a request: halves that mark each choice, so that two choices lie one apart, then the sizes."""
    chosen = [_choices(request) for request in requests]
    columns = [
        [0.5 * (row[place] == value) for row in chosen]
        for place in range(len(_CHOICES) + 1)
        for value in sorted({row[place] for row in chosen})
    ]
    sizes = _DOUBLING * np.log2(np.array([_sizes(request) for request in requests], dtype=np.float64))
    return np.hstack([np.array(columns, dtype=np.float64).T, sizes])


def _choices(request: Request) -> tuple[str, ...]:
    family = str(request.model.config.get("model_type"))
    return (family, *(str(getattr(request.config, name)) for name in _CHOICES))


def _sizes(request: Request) -> tuple[int, ...]:
    config = request.config
    return (
        request.model.parameters,
        config.micro_batch,
        config.sequence_length,
        config.accumulation_steps,
        config.lora_rank,
    )
