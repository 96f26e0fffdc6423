"""Why a difference is there, where it is known: `causes.toml`."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from bench.events.compare import Difference

UNKNOWN = "cause unknown"


def cause(difference: Difference, precision: str) -> str:
    """Why things differ so in a run of that precision, or that it is not known."""
    facts = {
        "where": difference.where,
        "ops": difference.op,
        "phases": difference.phase,
        "precisions": precision,
    }
    for known in _causes():
        if all(value in known.get(name, [value]) for name, value in facts.items()):
            return str(known["says"])
    return UNKNOWN


@cache
def _causes() -> list[dict[str, Any]]:
    text = files("bench.events").joinpath("causes.toml").read_text(encoding="utf-8")
    causes: list[dict[str, Any]] = tomllib.loads(text)["cause"]
    return causes
