"""The length of every example of a file, in tokens: read with the tokenizer that a run uses, or estimated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from advisor.data_facts.rates import rate_for
from advisor.data_facts.tokenizer import LocalTokenizer
from advisor.errors import AdvisorError
from advisor.step.labels import IGNORED
from advisor.train.rows import Row, RowFormat, Rows, held_out_count, read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of each example, in the order of the file."""

    path: Path
    format: RowFormat
    tokens: tuple[int, ...]
    counted_tokens: int | None  # those that the loss counts; None where they were not read
    tokenizer: str  # whose tokens
    estimated: bool
    # Where estimated: what the true number of tokens is, at least and at most, as a share of this one.
    least_share: float = 1.0
    most_share: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def training(self) -> tuple[int, ...]:
        """Those that a run trains on, where it holds the last ones out for evaluation."""
        return self.tokens[: len(self.tokens) - held_out_count(len(self.tokens))]


def read_lengths(path: Path, tokenizer: LocalTokenizer | None, *, vocabulary: int | None) -> Lengths:
    """The lengths; `vocabulary` of the model chooses the estimate where there is no tokenizer.

    Raises: AdvisorError where the file can't be read, naming the line.
    """
    rows = read_rows(path)
    if tokenizer is None:
        return _estimated(rows, vocabulary)
    lengths, counted = _read(rows, tokenizer)
    return Lengths(
        path=path,
        format=rows.format,
        tokens=tuple(lengths),
        counted_tokens=counted,
        tokenizer=f"{tokenizer.folder.name or tokenizer.folder}, {tokenizer.vocabulary:,} tokens",
        estimated=False,
    )


def _read(rows: Rows, tokenizer: LocalTokenizer) -> tuple[list[int], int]:
    from advisor.train.tokens import encoded

    lengths, counted = [], 0
    for ids, labels in encoded(rows, cast("Any", tokenizer)):
        lengths.append(len(ids))
        counted += len(labels) - labels.count(IGNORED)
    if not any(lengths):
        raise AdvisorError(f"{rows.path} holds no token.")
    return lengths, counted


def _estimated(rows: Rows, vocabulary: int | None) -> Lengths:
    texts = [_text(row) for row in rows.rows]
    rate = rate_for(texts, vocabulary)
    assumed = (
        f"{rate.value:.2f} characters a token are assumed, {rate.low:.2f} to {rate.high:.2f} were measured"
    )
    reads = "--tokenizer PATH reads the real lengths"
    notes = [f"the model's tokenizer is not at hand: {assumed} ({rate.basis}); {reads}"]
    if rows.format is RowFormat.CHAT:
        notes.append("what the chat template writes around each message is not counted")
    return Lengths(
        path=rows.path,
        format=rows.format,
        tokens=tuple(max(1, round(len(text) / rate.value)) + 1 for text in texts),  # and an end token
        counted_tokens=None,
        tokenizer="none at hand",
        estimated=True,
        least_share=rate.value / rate.high,
        most_share=rate.value / rate.low,
        notes=tuple(notes),
    )


def _text(row: Row) -> str:
    return row.text + row.prompt + row.completion + "".join(turn.content for turn in row.messages)
