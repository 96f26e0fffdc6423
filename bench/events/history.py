"""Histories of a real allocator: what it did, in order. `tests/data/allocator` holds those that ship."""

import gzip
import json
import lzma
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advisor.profiles.folders import profiles_folder
from advisor.replay.blocks import MIN_BLOCK_BYTES

SEGMENT, ALLOC, FREE = "s", "a", "f"
_KINDS = {"segment_alloc": SEGMENT, "alloc": ALLOC, "free_completed": FREE}


class Happening(NamedTuple):
    """One thing that the allocator did: took a segment, handed out a block, took it back."""

    kind: str
    size_bytes: int  # as asked for, before rounding
    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A history that ships, and the run that made it."""

    path: Path
    card: str
    row: dict[str, Any]  # as `advisor estimate` takes it
    steps: int  # optimizer steps
    moments: tuple[tuple[int, str], ...]  # before which happening the driver mapped something for itself

    @property
    def happenings(self) -> list[Happening]:
        """Everything that happened, from loading to the end of the last step."""
        return read_history(self.path)


def kept_folder() -> Path:
    """Where the histories lie that ship."""
    return profiles_folder().parent / "tests" / "data" / "allocator"


def kept_histories(folder: Path) -> list[Kept]:
    """Those that `histories.toml` lists."""
    text = (folder / "histories.toml").read_text(encoding="utf-8")
    return [
        Kept(
            path=folder / entry["file"],
            card=entry["card"],
            row=entry["row"],
            steps=entry["steps"],
            moments=tuple((index, moment) for moment, index in entry["moments"].items()),
        )
        for entry in tomllib.loads(text)["history"]
    ]


def read_history(path: Path) -> list[Happening]:
    """A history that ships (`.xz`), or one that `bench.history` has just written (`.gz`)."""
    if path.suffix == ".xz":
        kept = json.loads(lzma.decompress(path.read_bytes()))
        return [Happening(kind, size, unit * MIN_BLOCK_BYTES) for kind, size, unit in kept]
    rows = json.loads(gzip.decompress(path.read_bytes()))
    return [Happening(_KINDS[kind], size, address) for kind, size, address in rows if kind in _KINDS]


def packed(happenings: Sequence[Happening]) -> bytes:
    """The form in which a history ships: addresses counted from the lowest one."""
    lowest = min(each.address for each in happenings)
    rows = [[kind, size, (address - lowest) // MIN_BLOCK_BYTES] for kind, size, address in happenings]
    return lzma.compress(json.dumps(rows, separators=(",", ":")).encode(), preset=9 | lzma.PRESET_EXTREME)
