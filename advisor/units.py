"""Bytes in, bytes out: the one place where sizes are read from and shown to people."""

import re

from advisor.errors import AdvisorError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smh])\s*$", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def gib(size_bytes: float, decimals: int = 2) -> str:
    """A size as people read it, such as `11.80 GiB`."""
    return f"{size_bytes / GIB:.{decimals}f} GiB"


def mib(size_bytes: float, decimals: int = 1) -> str:
    """A small size as people read it, such as `8.1 MiB`."""
    return f"{size_bytes / MIB:.{decimals}f} MiB"


def short_tokens(count: float) -> str:
    """Tokens as context lengths are called: 512, 2k, 128k."""
    return f"{count / KIB:g}k" if count >= KIB else f"{count:g}"


def parse_size_bytes(text: str) -> int:
    """Bytes behind `512MiB`, `1.5GiB` or `1GB`.

    Units: `GiB` is binary, `GB` decimal, as the standards say.
    Raises: AdvisorError where the text is not a size.
    """
    match = _SIZE.match(text)
    if match is None:
        raise AdvisorError(
            f"{text!r} is not a size.", why="expected a number and a unit", fix="write 1GB or 512MiB"
        )
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** _POWER[prefix.lower()])


def parse_seconds(text: str) -> float:
    """Seconds behind `90s`, `10m` or `1.5h`.

    Raises: AdvisorError where the text is not a duration.
    """
    match = _DURATION.match(text)
    if match is None:
        raise AdvisorError(
            f"{text!r} is not a duration.", why="expected a number and a unit", fix="write 90s, 10m or 1.5h"
        )
    return float(match[1]) * _SECONDS[match[2].lower()]


def seconds(duration_seconds: float) -> str:
    """A duration as people read it, such as `3 h 05 min`, `2 min 10 s` or `0.44 s`."""
    if duration_seconds < 60:
        return f"{duration_seconds:.2f} s"
    minutes, rest = divmod(round(duration_seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
