"""When two spellings are one name."""

import re
from collections.abc import Iterator
from typing import Any

_BETWEEN = re.compile(r"[\s_-]+")
_BRANDS = ("nvidia", "geforce", "tesla", "rtx", "amd", "instinct")
_SHOWN = 60  # characters of a bad value that a message repeats


def key(text: str) -> str:
    """The spelling that `RTX 4090`, `rtx-4090` and `RTX_4090` share."""
    return _BETWEEN.sub("", text.lower())


def shorter_names(text: str) -> Iterator[str]:
    """The name, and what is left as people leave out brands: `GeForce RTX 4090`, `RTX 4090`."""
    yield text
    first, _, rest = text.partition(" ")
    if rest and first.lower() in _BRANDS:
        yield from shorter_names(rest)


def natural_order(text: str) -> list[tuple[float, str]]:
    """A sort key that puts `270m` before `1b`, and `8b` before `12b`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(m\b)?|([^\d]+)", text)
    return [(float(n) / (1000 if m else 1) if n else -1.0, rest) for n, m, rest in parts]


def shown(value: Any) -> str:
    """A value as a message shows it: as Python writes it, and not for pages."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
