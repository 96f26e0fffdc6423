"""Take a history that `bench.history` has written among those that ship."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.files import replace_bytes, replace_text
from advisor.tape.store import TapeStore
from bench.events.compare import compare
from bench.events.history import packed, read_history
from bench.events.simulated import simulated_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A history to take, and what made it."""

    path: Path
    card: str
    row: dict[str, Any]
    name: str
    steps: int


def keep(taken: Taken, folder: Path, store: TapeStore) -> None:
    """Cut it after its last step that counts, find where the driver acts, and list it in `histories.toml`."""
    happenings = read_history(taken.path)
    run = simulated_run(taken.row, taken.card, taken.steps, store)
    compared = compare(happenings, run)
    name = f"{taken.name}.json.xz"
    replace_bytes(folder / name, packed(happenings[: compared.end]))
    listed = folder / "histories.toml"
    text = listed.read_text(encoding="utf-8") if listed.exists() else "schema = 1\n"
    replace_text(listed, text + _entry(taken, name, compared.moments))


def _entry(taken: Taken, name: str, moments: Sequence[tuple[int, str]]) -> str:
    values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in taken.row.items())
    acts = ", ".join(f"{json.dumps(moment)} = {index}" for index, moment in moments)
    return f"""
[[history]]
file = {json.dumps(name)}
card = {json.dumps(taken.card)}
row = {{ {values} }}
steps = {taken.steps}
moments = {{ {acts} }}
"""
