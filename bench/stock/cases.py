"""What is compared: a few models under memory caps, and for each the rows of both sides.

Ours are what the planner chooses for the card under the cap, and what it chooses with one wish more, so that a measurement
tells which default is fast. Stock rows have trl's default micro-batch first, then halves of it: the first that runs counts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import find_best
from advisor.records import (
    Allocator,
    Checkpointing,
    GpuSpec,
    Loss,
    Method,
    Precision,
    TrainConfig,
    config_from_json,
)
from bench.contest.grid import search_under
from bench.request import Request

EFFECTIVE_BATCH, SEQUENCE_LENGTH = 16, 2048
_STOCK_MICRO_BATCHES = (8, 4, 2, 1)  # transformers' default per_device_train_batch_size, and its halves
STOCK, OURS, PLAN, CHUNKED = "stock", "ours", "plan", "chunked loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model and method under one cap."""

    name: str
    model: str
    method: Method
    precision: Precision
    cap: str | None = None  # a card's size; None: the whole card


CASES = (
    Case(name="8b-qlora-24gb", model="llama-3.1-8b", method=Method.LORA, precision=Precision.NF4, cap="24GB"),
    Case(name="8b-qlora-16gb", model="llama-3.1-8b", method=Method.LORA, precision=Precision.NF4, cap="16GB"),
    Case(name="8b-lora", model="llama-3.1-8b", method=Method.LORA, precision=Precision.BF16),
    Case(name="3b-full", model="llama-3.2-3b", method=Method.FULL, precision=Precision.BF16),
)
# Each wish is fixed, and the planner does its best with what is left.
_BOLD = {"risk": 0.4}
_WISHES: dict[str, dict[str, Any]] = {
    PLAN: {},
    CHUNKED: {"loss": Loss.CHUNKED},
    "growing segments": {"allocator": Allocator.EXPANDABLE},
    "bold": _BOLD,
    "stock loss": {"loss": Loss.STOCK},
    **{f"micro-batch {size}": {"micro_batch": size} for size in (1, 2, 4, 8)},
}


def rows_of(case: Case, gpu: GpuSpec, estimator: Estimator) -> Iterator[dict[str, Any]]:
    """The rows to measure, the stock ones first; configs that several wishes lead to once."""
    cap = None if case.cap is None else usable_bytes(find_gpu(case.cap)[0])
    told = {"case": case.name, "gpu": gpu.slug, "model": case.model, "cap_bytes": cap}
    for size in _STOCK_MICRO_BATCHES:
        yield (
            told | {"turn": 0, "side": STOCK, "variant": f"micro-batch {size}"} | _stock(case, size).to_json()
        )
    seen: dict[TrainConfig, str] = {}
    for turn, (wish, fixed) in enumerate(_WISHES.items()):
        planned = _planned(case, cap, gpu, estimator, fixed)
        if planned is not None and planned[0] not in seen:
            config, predicted = planned
            seen[config] = wish
            yield told | {"turn": turn, "side": OURS, "variant": wish} | config.to_json() | predicted


def key_of(row: dict[str, Any]) -> str:
    """What a row is known by."""
    config = config_from_json(row).to_json()
    return json.dumps([row["case"], row["side"], row["variant"], row["cap_bytes"], config], sort_keys=True)


def request_of(row: dict[str, Any]) -> Request:
    """The row as a worker is asked."""
    return Request(
        model=find_model(row["model"])[0], config=config_from_json(row), cap_bytes=row["cap_bytes"]
    )


def _stock(case: Case, micro_batch: int) -> TrainConfig:
    """What a user tells trl; checkpointing is its default."""
    return TrainConfig(
        method=case.method,
        precision=case.precision,
        micro_batch=micro_batch,
        accumulation_steps=EFFECTIVE_BATCH // micro_batch,
        sequence_length=SEQUENCE_LENGTH,
        checkpointing=Checkpointing.NON_REENTRANT,
        loss=Loss.CHUNKED,  # its "nll" of 1.16
    )


def _planned(
    case: Case, cap_bytes: int | None, gpu: GpuSpec, estimator: Estimator, fixed: dict[str, Any]
) -> tuple[TrainConfig, dict[str, Any]] | None:
    """The planner's config and what it predicts; None where nothing fits or can't be traced."""
    options = PlanOptions(
        goal=Goal.FASTEST,
        effective_batch=EFFECTIVE_BATCH,
        sequence_length=SEQUENCE_LENGTH,
        evaluates=False,  # what is measured is training alone
    )
    options = replace(options, method=case.method, precision=case.precision, **fixed)
    model = find_model(case.model)[0]
    search = search_under(model, gpu, cap_bytes or usable_bytes(gpu), estimator, options)
    try:
        found = find_best(search, lanes(gpu, options, model))
    except AdvisorError:
        return None
    if found is None:
        return None
    peak = estimator.outcome(model, found.config, gpu).peak_reserved_bytes
    speed = round(found.tokens_per_second, 1)
    return found.config, {"predicted_bytes": peak, "predicted_tokens_per_second": speed}
