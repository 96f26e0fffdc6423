"""Real text from a JSONL file: every line is checked before any weight is loaded. No torch here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError, ExitCode
from advisor.units import GIB, MIB, gib

_LARGEST_FILE_BYTES = 2 * GIB  # all of it is held in memory, as text and then as tokens
_LONGEST_LINE_BYTES = 16 * MIB
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PLAIN_TEXT = ".txt"
_HELD_OUT_SHARE = 0.05  # of the examples, where no file of their own is given


class RowFormat(StrEnum):
    """What the rows of a file hold; the value is how people are told."""

    TEXT = "text"
    COMPLETION = "prompt and completion"
    CHAT = "messages"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One example; which fields are filled depends on the file's format."""

    line: int  # in its file, from 1
    text: str = ""
    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The examples of one file, all of one format."""

    path: Path
    format: RowFormat
    rows: tuple[Row, ...]


_KEYS = {
    RowFormat.TEXT: ("text",),
    RowFormat.COMPLETION: ("prompt", "completion"),
    RowFormat.CHAT: ("messages",),
}
_FORMATS = 'one of {"text": …}, {"prompt": …, "completion": …} and {"messages": [{"role": …, "content": …}]}'
# What people have instead of JSONL, and the shortest way from it.
_HOW_TO_CONVERT = {
    ".json": "write one object a line: jq -c '.[]' {name} > {stem}.jsonl",
    ".csv": "load_dataset('csv', data_files='{name}')['train'].to_json('{stem}.jsonl') of `datasets` writes it",
    ".parquet": "load_dataset('parquet', data_files='{name}')['train'].to_json('{stem}.jsonl') of `datasets` writes it",
    ".gz": "unpack it first: gunzip -k {name}",
    ".zst": "unpack it first: zstd -d {name}",
}


class _BadRowError(Exception):
    """What is wrong with a line: the fact, and what to do."""


def read_rows(path: Path) -> Rows:
    """All examples of a JSONL file; a byte order mark, blank lines and further keys are tolerated.

    A `.txt` file holds one example a line.

    Raises: AdvisorError where the file can't be read, or naming the first line that is no example.
    """
    _check_file(path)
    found: RowFormat | None = None
    rows: list[Row] = []
    plain = path.suffix.lower() == _PLAIN_TEXT
    for number, raw in _lines(path):
        try:
            values = {"text": _decoded(raw).rstrip("\r\n")} if plain else _object(raw)
            found = _same_format(found, values)
            rows.append(_row(found, values, number))
        except _BadRowError as error:
            raise AdvisorError(
                f"{path}, line {number}: not an example to train on.", why=str(error), fix=f"write {_FORMATS}"
            ) from error
    if found is None:
        raise AdvisorError(f"{path} holds no examples.", why="it is empty", fix=f"write {_FORMATS}")
    return Rows(path=path, format=found, rows=tuple(rows))


def held_out_count(examples: int) -> int:
    """How many of the examples, the last ones, a run keeps for evaluation."""
    return int(examples * _HELD_OUT_SHARE)


def _check_file(path: Path) -> None:
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, siblings, n=3)
        why = f"nearest there: {', '.join(near)}" if near else ""
        raise AdvisorError(f"There is no file {path}.", why=why, fix="give a .jsonl file with --data")
    if not path.is_file():
        raise AdvisorError(f"{path} is not a file.", fix="give one .jsonl file with --data")
    if path.suffix.lower() not in (".jsonl", ".ndjson", _PLAIN_TEXT):
        how = _HOW_TO_CONVERT.get(path.suffix.lower(), f"a line each, {_FORMATS}")
        raise AdvisorError(
            f"{path} is not read: training data is JSON Lines, one object a line, or text, one example a line.",
            why=f"its name ends in {path.suffix or 'nothing'}, not in .jsonl or .txt",
            fix=how.format(name=path.name, stem=path.name.split(".")[0]) if "{name}" in how else how,
        )
    size = path.stat().st_size
    if size > _LARGEST_FILE_BYTES:
        raise AdvisorError(
            f"{path} is too large.",
            why=f"{gib(size)}; up to {gib(_LARGEST_FILE_BYTES)} is held in memory",
            fix=f"split it: split -C 1G --additional-suffix=.jsonl {path.name} part-",
        )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(_LONGEST_LINE_BYTES + 1):
                number += 1
                line = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                if line.strip():
                    yield number, line
    except OSError as error:
        raise AdvisorError(
            f"Can't read {path}.", why=error.strerror or str(error), exit_code=ExitCode.ENVIRONMENT
        ) from error


def _decoded(raw: bytes) -> str:
    if len(raw) > _LONGEST_LINE_BYTES:
        raise _BadRowError(f"it is longer than {_LONGEST_LINE_BYTES // MIB} MiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _BadRowError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error


def _object(raw: bytes) -> dict[str, Any]:
    try:
        values = json.loads(_decoded(raw))
    except RecursionError as error:
        raise _BadRowError("it nests too deeply") from error
    except ValueError as error:
        raise _BadRowError(f"it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise _BadRowError(f"it is {_kind(values)}, not an object")
    return values


def _format_of(values: dict[str, Any]) -> RowFormat:
    found = [kind for kind, keys in _KEYS.items() if any(key in values for key in keys)]
    if not found:
        keys = ", ".join(repr(k) for k in list(values)[:5]) or "none"
        raise _BadRowError(f"it has none of the keys text, prompt, completion, messages; its keys: {keys}")
    if len(found) > 1:
        raise _BadRowError(f"it holds {' and also '.join(kind.value for kind in found)}: which is meant?")
    missing = [key for key in _KEYS[found[0]] if key not in values]
    if missing:
        raise _BadRowError(f"it has no {missing[0]!r}")
    return found[0]


def _same_format(found: RowFormat | None, values: dict[str, Any]) -> RowFormat:
    kind = _format_of(values)
    if found is not None and kind is not found:
        raise _BadRowError(f"it holds {kind.value}, the lines above hold {found.value}")
    return kind


def _row(kind: RowFormat, values: dict[str, Any], line: int) -> Row:
    if kind is RowFormat.CHAT:
        return Row(line=line, messages=_messages(values["messages"]))
    if kind is RowFormat.TEXT:
        return Row(line=line, text=_text(values, "text"))
    return Row(line=line, prompt=_text(values, "prompt"), completion=_text(values, "completion"))


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _BadRowError(f"its messages are {_kind(value)}, not a list of at least one")
    for index, turn in enumerate(value):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            raise _BadRowError(f"message {index + 1} is not an object with a role and a content")
    turns = tuple(Message(_text(turn, "role"), _text(turn, "content")) for turn in value)
    if all(turn.role != "assistant" for turn in turns):
        raise _BadRowError("no message has the role 'assistant', so there is nothing to learn")
    return turns


def _text(values: dict[str, Any], key: str) -> str:
    value = values[key]
    if not isinstance(value, str):
        raise _BadRowError(f"its {key!r} is {_kind(value)}, not text")
    if not value.strip():
        raise _BadRowError(f"its {key!r} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _BadRowError(f"its {key!r} holds half of a surrogate pair, which is no character") from error
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return "an empty list" if value == [] else names.get(type(value), "a number")
