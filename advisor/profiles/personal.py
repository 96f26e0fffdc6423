"""Paths, users, hosts and addresses in a text: a row tells of a card, and of nobody's machine."""

import getpass
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

LONGEST_TEXT = 1000  # characters; a reason is cut to fewer
# Error messages of torch point to its manual.
_PUBLIC = re.compile(r"https?://(?:docs\.|www\.)?(?:pytorch\.org|nvidia\.com)(?:/[\w./#-]*)?", re.ASCII)
_KINDS = {
    "address": (
        r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://\S*",
        r"(?<![\w.+-])[\w.+-]+@[\w.-]+",
        r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}:\d+",  # without a port it may be a version
        r"(?<![\d.])192\.168\.\d{1,3}\.\d{1,3}",
        r"(?<![\w.-])[\w.-]+\.(?:local|lan|internal|intranet|corp|localdomain)\b",
    ),
    "path": (
        r"(?<!\w)[a-z]:[\\/]\S*",
        r"\\\\\w\S*",
        r"(?<![\w/])~[\w.-]*/\S*",
        r"(?<![\w/])\.{1,2}/[^\s'\"<>|:;,()]*",  # from here
        r"(?<!\w)/[\w.+-]*[a-z_][\w.+-]+[^\s'\"<>|:;,()]*",  # from the root
        r"(?<![\w.+/-])[\w.+/-]*/[\w.+-]*[\w+-]\.[a-z]\w{0,4}\b",  # to a file, from anywhere
        r"(?<![\w.+/-])[\w.+/-]*\b(?:home|users)/[\w.+/-]+",
    ),
}
_SIGNS = re.compile(r"[/\\@]|:\d|192\.168|\.[lic]", re.IGNORECASE)  # no pattern matches without one
_PATTERNS = [(kind, re.compile(p, re.IGNORECASE)) for kind, patterns in _KINDS.items() for p in patterns]
# Names of many machines, and words of this file and of the trade: they tell of nobody.
_COMMON = re.compile(
    "root|users?|admin|ubuntu|debian|runner|jovyan|nobody|docker|localhost|host|path|address|home|linux|nvidia|cuda|"
    "torch|python|gpu|cpu|test|worker|train|memory|card",
    re.IGNORECASE,
)
_FIXED = ("schema", "id", "card", "model", "config", "outcome", "provenance", "system")  # words of lists


def find_personal(text: str, *, names: bool = True) -> tuple[str, str] | None:
    """What kind of thing the text gives away and how it is written there, or None.

    `names` asks for the user and the host of this machine, too; those of others can't be known.
    """
    found = _search(text, names=names)
    return found and (found[0], found[1].group())


def personal_in(value: Any, key: str = "", *, names: bool = True) -> Iterator[tuple[str, str, str]]:
    """Key, kind and wording of everything personal in nested plain values, their keys included."""
    if isinstance(value, str):
        if found := find_personal(value, names=names):
            yield (key, *found)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from personal_in(name, key, names=False)
            inside = f"{key}.{name}" if key else str(name)
            yield from personal_in(part, inside, names=names and name not in _FIXED)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from personal_in(part, key, names=names)


def scrubbed(text: str) -> str:
    """The text on one line with `<path>`, `<user>`, `<host>` and `<address>` for what is personal."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_TEXT]
    while found := _search(text, names=True):
        kind, match = found
        text = f"{text[: match.start()]}<{kind}>{text[match.end() :]}"[:LONGEST_TEXT]
    return text


def _search(text: str, *, names: bool) -> tuple[str, re.Match[str]] | None:
    masked = _PUBLIC.sub(lambda match: " " * len(match.group()), text)
    patterns = _PATTERNS if _SIGNS.search(masked) else ()
    for kind, pattern in (*patterns, *(_own_names() if names else ())):
        if match := pattern.search(masked):
            return kind, match
    return None


@cache
def _own_names() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """This machine's user and host, as whole words."""
    host = socket.gethostname()
    named = [("host", host), ("host", host.partition(".")[0]), ("user", Path.home().name)]
    with suppress(KeyError, OSError):  # a container's user may have no name
        named.append(("user", getpass.getuser()))
    telling = [(kind, name) for kind, name in named if len(name) > 2 and not _COMMON.fullmatch(name)]
    return tuple(
        (kind, re.compile(rf"(?<![\w-]){re.escape(n)}(?![\w-])", re.IGNORECASE)) for kind, n in telling
    )
