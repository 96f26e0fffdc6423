"""Make the tables of residuals that ranges are read off, from the rows of the accuracy report.

    python -m bench.residuals [FOLDER]       # reports/accuracy.json → FOLDER, else advisor/residuals

`memory.json`: how far each measured config lay from its prediction. `repeats.json`: how far one that was measured again
lay from the first time.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from advisor.catalog.gpus import find_gpu
from advisor.files import replace_text
from advisor.residuals.facts import facts_of
from advisor.residuals.table import MEMORY, REPEATS, Row
from bench.accuracy.compared import OWN, Compared, Figure
from bench.accuracy.document import from_json

_ROOT = Path(__file__).parent.parent
_REPORT = _ROOT / "reports" / "accuracy.json"
_FOLDER = _ROOT / "advisor" / "residuals"
_FIGURES = ("allocated", "reserved")
_DIGITS = 6


def rows_of(compared: Iterable[Compared]) -> list[Row]:
    """One row a config and card; of several the one whose reserved peak is farthest off its prediction."""
    return [max(map(_row, same), key=_off) for same in _by_config(compared)]


def repeats_of(compared: Iterable[Compared]) -> list[Row]:
    """One row a config and card that was measured again: the farthest from the first time."""
    return [
        max((_row(_against(first, again)) for again in more), key=_off)
        for first, *more in _by_config(compared)
        if more
    ]


def table_text(rows: Iterable[Row]) -> str:
    """The file: one line a row."""
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    return f'{{"schema": 1, "made_by": "python -m bench.residuals", "rows": [\n{lines}\n]}}\n'


def _by_config(compared: Iterable[Compared]) -> list[list[Compared]]:
    found: dict[tuple[str, str, object], list[Compared]] = {}
    for row in compared:
        if any(name in row.figures for name in _FIGURES):
            found.setdefault((row.card, row.model, row.config), []).append(row)
    return list(found.values())


def _against(first: Compared, again: Compared) -> Compared:
    """The second with the first in place of what was predicted."""
    figures: dict[str, Figure] = {
        name: replace(again.figures[name], predicted_bytes=first.figures[name].measured_bytes)
        for name in _FIGURES
        if name in again.figures and name in first.figures
    }
    return replace(again, figures=figures)


def _off(row: Row) -> float:
    return abs(row.residuals.get("reserved", 0.0))


def _row(row: Compared) -> Row:
    """Of what was allocated the residual is a share of the prediction, of what was reserved so many largest blocks."""
    residuals = {}
    for name in _FIGURES:
        if (figure := row.figures.get(name)) is not None:
            unit = figure.predicted_bytes if name == "allocated" else row.largest_block_bytes
            residuals[name] = round((figure.measured_bytes - figure.predicted_bytes) / unit, _DIGITS) + 0.0
    return Row(
        card=row.card,
        model=row.model,
        others=row.source != OWN,
        facts=facts_of(row.config, find_gpu(row.card)[0]),
        residuals=residuals,
    )


def main(folder: Annotated[Path, typer.Argument(help="Where to write both tables.")] = _FOLDER) -> None:
    """Write the tables anew."""
    compared = from_json(json.loads(_REPORT.read_text(encoding="utf-8"))).compared
    replace_text(folder / f"{MEMORY}.json", table_text(rows_of(compared)))
    replace_text(folder / f"{REPEATS}.json", table_text(repeats_of(compared)))


if __name__ == "__main__":
    typer.run(main)
