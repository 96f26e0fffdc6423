"""`assumed.toml`: what a figure takes for granted because of how is trained."""

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.records import TrainConfig

_FIELDS = ("precision", "optimizer")


def assumed_for(config: TrainConfig) -> tuple[str, ...]:
    """What is assumed for the config, in words."""
    values = config.to_json()
    return tuple(
        row["says"]
        for row in _rows()
        if all(_is_among(values[name], row[name]) for name in _FIELDS if name in row)
    )


def _is_among(value: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


@cache
def _rows() -> list[dict[str, Any]]:
    text = files("advisor.catalog").joinpath("assumed.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)["assumed"]
    return rows
