"""Everything that `advisor data` tells of a file, as one record."""

from dataclasses import asdict, dataclass
from typing import Any

from advisor.data_facts.batches import LongestBatch
from advisor.data_facts.facts import Bar, Cut, Padding, Spread, cut, histogram, padding, spread
from advisor.data_facts.lengths import Lengths
from advisor.data_facts.recommend import Recommended, lengths_to_show

SCHEMA = 1  # 1: first
_MICRO_BATCHES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One file's facts."""

    data: Lengths
    spread: Spread
    bars: tuple[Bar, ...]
    cuts: tuple[Cut, ...]  # by length, shortest first; the recommended one is among them
    padding: tuple[Padding, ...]  # by micro-batch, examples cut at the recommended length
    recommended: Recommended
    on_card: tuple[LongestBatch, ...] = ()  # by micro-batch, where a card was named
    way: str = ""  # how it trains there


def describe(data: Lengths, recommended: Recommended, asked: int | None = None) -> Report:
    """The facts of all examples; `asked` is a length to show beside the others."""
    chosen = recommended.cut.sequence_length
    shown = lengths_to_show(data.tokens, chosen, *(() if asked is None else (asked,)))
    kept = [min(length, chosen) for length in data.tokens]
    return Report(
        data=data,
        spread=spread(data.tokens),
        bars=histogram(data.tokens),
        cuts=tuple(cut(data.tokens, length) for length in shown),
        padding=tuple(padding(kept, n) for n in _MICRO_BATCHES if n <= len(kept)),
        recommended=recommended,
    )


def to_json(report: Report) -> dict[str, Any]:
    """One versioned document; lengths are in tokens."""
    data = report.data
    return {
        "schema": SCHEMA,
        "kind": "data",
        "file": str(data.path),
        "format": data.format.value,
        "tokenizer": data.tokenizer,
        "estimated": data.estimated,
        "tokens": {
            "value": report.spread.tokens,
            "low": round(report.spread.tokens * data.least_share),
            "high": round(report.spread.tokens * data.most_share),
        },
        "counted_tokens": data.counted_tokens,
        "lengths": asdict(report.spread),
        "histogram": [asdict(bar) for bar in report.bars],
        "cuts": [asdict(each) for each in report.cuts],
        "padding": [asdict(each) for each in report.padding],
        "on_card": [asdict(each) for each in report.on_card],
        "recommended": asdict(report.recommended.cut) | asdict(report.recommended.reason),
        "notes": list(data.notes),
    }
