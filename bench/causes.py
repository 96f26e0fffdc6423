"""Files of known causes: `causes.toml` of a package lists them, the first that applies counts."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

UNKNOWN = "cause unknown"


@cache
def causes_of(package: str) -> list[dict[str, Any]]:
    """The package's causes, in order."""
    text = files(package).joinpath("causes.toml").read_text(encoding="utf-8")
    causes: list[dict[str, Any]] = tomllib.loads(text)["cause"]
    return causes
