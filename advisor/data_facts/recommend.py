"""Which max_seq_length a file of examples asks for."""

import tomllib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from math import ceil
from typing import Any

from advisor.data_facts.facts import Cut, cut
from advisor.records import Reason

_LENGTHS_SHOWN = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """The length to plan for, and what it does to the data."""

    cut: Cut
    reason: Reason


def recommend(lengths: Sequence[int], *, positions: int | None = None) -> Recommended:
    """The smallest length that cuts hardly anything; never more than the model has positions for."""
    best = cut(lengths, _least_length(lengths))
    if positions is not None and best.sequence_length > positions:
        text = f"the model has {positions:,} positions; the data asks for {best.sequence_length:,}"
        return Recommended(cut=cut(lengths, positions), reason=Reason(code="positions", text=text))
    if not best.cut_examples:
        text = f"holds the longest example, {max(lengths):,} tokens"
        return Recommended(cut=best, reason=Reason(code="holds-all", text=text))
    text = f"{share(best.cut_examples, len(lengths))} of the examples are longer, by {share(best.cut_tokens, sum(lengths))} of the tokens"
    return Recommended(cut=best, reason=Reason(code="cuts-the-tail", text=text))


def _least_length(lengths: Sequence[int]) -> int:
    """Both shares fall as the length grows, so it is searched by halving."""
    rule = _rule()
    ordered, each = sorted(lengths), int(rule["multiple"])
    sums = [0, *accumulate(ordered)]

    def is_enough(multiples: int) -> bool:
        length = multiples * each
        kept = bisect_right(ordered, length)
        longer = len(ordered) - kept
        lost = sums[-1] - sums[kept] - longer * length
        few = longer <= rule["most_examples_cut"] * len(ordered)
        return few and bool(lost <= rule["most_tokens_cut"] * sums[-1])

    return each * bisect_left(range(1 + ceil(ordered[-1] / each)), x=True, lo=1, key=is_enough)


def lengths_to_show(lengths: Sequence[int], *also: int) -> list[int]:
    """Round lengths up to the first that cuts nothing, and those that were asked for."""
    longest = max(lengths)
    below = [length for length in _LENGTHS_SHOWN if length < longest]
    first_above = [length for length in _LENGTHS_SHOWN if length >= longest][:1]
    return sorted({*below[-5:], *first_above, *also})


def share(part: float, whole: float) -> str:
    """A share as people read it: never 0 % where there is something."""
    if not part:
        return "none"
    percent = 100 * part / whole
    if percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


@cache
def _rule() -> dict[str, Any]:
    text = files("advisor.data_facts").joinpath("rules.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["length"])
