"""Why a prediction is off, where it is known: `causes.toml`."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from bench.accuracy.compared import Compared

UNKNOWN = "cause unknown"
_NOT_FACTS = ("figures", "off", "says", "evidence", "date")


def cause(row: Compared, figure: str) -> str:
    """Why the figure of the row is off, or that it is not known."""
    facts = row.facts()
    under = row.figures[figure].error < 0
    for known in _causes():
        if figure in known["figures"] and known["off"] in ("any", "under" if under else "over"):
            wanted = {name: values for name, values in known.items() if name not in _NOT_FACTS}
            if all(facts[name] in values for name, values in wanted.items()):
                return str(known["says"])
    return UNKNOWN


@cache
def _causes() -> list[dict[str, Any]]:
    text = files("bench.accuracy").joinpath("causes.toml").read_text(encoding="utf-8")
    causes: list[dict[str, Any]] = tomllib.loads(text)["cause"]
    return causes
