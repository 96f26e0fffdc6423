"""`rates.toml`: how many characters a token holds, where no tokenizer is at hand to say."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import log
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Characters per token: the median over the kinds of text that were measured, and the extremes."""

    value: float
    low: float
    high: float
    basis: str  # of what it was measured, for people


def rate_for(texts: Sequence[str], vocabulary: int | None) -> Rate:
    """The rate of the measured class nearest in vocabulary, or over all classes where no model is named."""
    kind = "other" if _share_outside_ascii(texts) >= _document()["other_from_share"] else "latin"
    classes = _document()["classes"]
    if vocabulary is None:
        names = list(classes)
        whose = "every class of tokenizer measured, for no model is named"
    else:
        nearest = min(classes, key=lambda name: abs(log(classes[name]["vocabulary"] / vocabulary)))
        names = [nearest]
        whose = f"the class {nearest}, which stands for {classes[nearest]['means']}"
    known = [rate for name in names for rate in classes[name][kind].values()]
    return Rate(value=median(known), low=min(known), high=max(known), basis=f"{_KINDS[kind]}, {whose}")


_KINDS = {"latin": "text in Latin letters and code", "other": "text beyond ASCII"}


def _share_outside_ascii(texts: Sequence[str]) -> float:
    characters = sum(len(text) for text in texts)
    # In UTF-8 each ASCII character is one byte: the fast way to count those.
    ascii_ones = sum(len(text.encode("ascii", "ignore")) for text in texts)
    return 1 - ascii_ones / max(characters, 1)


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files("advisor.data_facts").joinpath("rates.toml").read_text(encoding="utf-8"))
