"""What a way to train is worth beside its speed: the rules of `quality.toml`, each with its source."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import pairwise
from math import log
from typing import Any

from advisor.records import Method, Precision, TrainConfig


def worth(config: TrainConfig) -> float:
    """The factor by which `--goal quality` multiplies tokens a second; 1 for the reference."""
    value = _precision_row(config)["worth"]
    if config.method is Method.LORA:
        value *= _targets_row(config)["worth"] * _rank_worth(config.lora_rank)
    return float(value * _optimizer_worth(config.optimizer))


def worth_source(config: TrainConfig) -> str:
    """Where the worth of the config's precision comes from."""
    return str(_precision_row(config)["source"])


def passed_over(config: TrainConfig, half: Precision) -> str:
    """Why a plan that is free to choose does not look at the way; empty where it does.

    `half` is the card's own half precision.
    """
    other = config.precision in (Precision.BF16, Precision.FP16) and config.precision is not half
    name = "other-half" if other else config.precision.value
    rows = (row for row in _rules()["passed_over"] if row["method"] == config.method.value)
    return next((str(row["why"]) for row in rows if row["precision"] == name), "")


def indifference_share(goal: str) -> float:
    """Of choices that score within so much of the best, the one that needs least memory is taken."""
    return float(_rules()["indifference"].get(goal, 0.0))


def _precision_row(config: TrainConfig) -> Mapping[str, Any]:
    return next(
        row
        for row in _rules()["precision"]
        if config.method.value in row["methods"] and config.precision.value in row["values"]
    )


def _targets_row(config: TrainConfig) -> Mapping[str, Any]:
    named = config.lora_targets if isinstance(config.lora_targets, str) else "*"
    rows = _rules()["targets"]
    return next((row for row in rows if named in row["values"]), rows[-1])


def _rank_worth(rank: int) -> float:
    """On a line over the logarithm of the rank, between the ranks that have a row."""
    rows = [(log(row["value"]), row["worth"]) for row in _rules()["rank"]]
    at = min(max(log(rank), rows[0][0]), rows[-1][0])
    for (low, below), (high, above) in pairwise(rows):
        if at <= high:
            return float(below + (above - below) * (at - low) / (high - low))
    return float(rows[-1][1])


def _optimizer_worth(name: str) -> float:
    rows = (row for row in _rules()["optimizer"] if row["contains"] in name)
    return float(next((row["worth"] for row in rows), 1.0))


@cache
def _rules() -> dict[str, Any]:
    return tomllib.loads(files("advisor.plan").joinpath("quality.toml").read_text(encoding="utf-8"))
