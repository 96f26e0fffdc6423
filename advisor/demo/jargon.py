"""Entries from the Jargon File as Debian's `dict-jargon` packs it (`dictd` text and index)."""

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

PART_OF_SPEECH = {"n": "noun", "v": "verb", "vt": "verb", "vi": "verb", "adj": "adjective"}

# The tokenizer learned from plain ASCII text; these marks would cost three tokens each.
PLAIN_MARKS = str.maketrans(
    {"“": '"', "”": '"', "‘": "'", "’": "'", "´": "'", "—": "--", "–": "-", "·": "-", "\xa0": " "}
)

MINIMUM_CHARACTERS = 60  # below it an entry is a bare cross-reference
MAXIMUM_CHARACTERS = 720  # about 245 tokens: this text has 2.9 characters a token
PROSE_FRACTION = 0.9  # letters, digits and everyday punctuation; tables and drawings fall below
HELDOUT_PERCENT = 9


def entries(text_file: Path) -> Iterator[str]:
    """One text an entry: `kluge (noun): [from the German …] A Rube Goldberg device …`."""
    text = gzip.decompress(text_file.read_bytes()).decode("utf-8").translate(PLAIN_MARKS)
    for chunk in re.split(r"\n\n(?=\S)", text):
        entry = render_entry(chunk)
        if entry and len(entry) >= MINIMUM_CHARACTERS:
            yield entry


def render_entry(chunk: str) -> str:
    """The entry as flowing text; empty where the chunk is the database's own header."""
    term, _, rest = chunk.strip("\n").partition("\n")
    grammar, _, body = rest.partition("\n")
    if grammar.lstrip(" ") == grammar != "" or not body.strip():  # the header is not indented
        return ""
    paragraphs = [flow(paragraph) for paragraph in re.split(r"\n\s*\n", body)]
    kept = [paragraph for paragraph in paragraphs if is_prose(paragraph)]
    return shorten(f"{term.strip()}{word_class(grammar)}: {' '.join(kept)}")


def flow(paragraph: str) -> str:
    """The paragraph on one line, its cross-references whole again: `{bit bucket}`."""
    line = " ".join(paragraph.split())
    return re.sub(r"\{\s+", "{", re.sub(r"\s+\}", "}", line))


def is_prose(paragraph: str) -> bool:
    """False for a table, a drawing, or the single letter that heads a chapter."""
    plain = sum(mark.isalnum() or mark in " .,;:'\"(){}[]-" for mark in paragraph)
    return len(paragraph) > 1 and plain >= PROSE_FRACTION * len(paragraph)


def word_class(grammar: str) -> str:
    """` (noun)` from ` /klooj/, n.`, and nothing where the entry names no class."""
    last = grammar.rsplit("/", maxsplit=1)[-1]
    found = re.search(r"\b(adj|vt|vi|n|v)\b", last)
    return f" ({PART_OF_SPEECH[found.group()]})" if found else ""


def shorten(entry: str) -> str:
    """The entry, or its whole sentences that fit in `MAXIMUM_CHARACTERS`."""
    if len(entry) <= MAXIMUM_CHARACTERS:
        return entry
    end = max(entry.rfind(mark, 0, MAXIMUM_CHARACTERS) for mark in (". ", "! ", "? ", ".) "))
    return entry[: end + 1] if end > 0 else entry[:MAXIMUM_CHARACTERS]


def is_heldout(entry: str) -> bool:
    """Whether the entry is kept out of the training; its term alone decides, never its place."""
    term = entry.partition(":")[0].lower()
    digest = hashlib.sha256(term.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELDOUT_PERCENT
