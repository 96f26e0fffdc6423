"""Make the table of residuals that ranges are read off, from the rows of the accuracy report.

python -m bench.residuals                # reports/accuracy.json → advisor/residuals/memory.json
python -m bench.residuals REPORT FILE
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from advisor.catalog.gpus import find_gpu
from advisor.files import replace_text
from advisor.residuals.facts import facts_of
from advisor.residuals.table import Row
from bench.accuracy.compared import OWN, Compared
from bench.accuracy.document import from_json

_ROOT = Path(__file__).parent.parent
_REPORT = _ROOT / "reports" / "accuracy.json"
_FILE = _ROOT / "advisor" / "residuals" / "memory.json"
_DIGITS = 6


def rows_of(compared: Iterable[Compared]) -> list[Row]:
    """The rows of a table: one a config and card; of several the one whose reserved peak is farthest off."""
    kept: dict[tuple[str, str, object], Row] = {}
    for row in compared:
        made = _row(row)
        key = (row.card, row.model, row.config)
        if made.residuals and (key not in kept or _off(made) > _off(kept[key])):
            kept[key] = made
    return list(kept.values())


def table_text(rows: Iterable[Row]) -> str:
    """The file: one line a row."""
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    return f'{{"schema": 1, "made_by": "python -m bench.residuals", "rows": [\n{lines}\n]}}\n'


def _off(row: Row) -> float:
    return abs(row.residuals.get("reserved", 0.0))


def _row(row: Compared) -> Row:
    """Of what was allocated the residual is a share of the prediction, of what was reserved so many largest blocks."""
    units = {"reserved": row.largest_block_bytes}
    if "allocated" in row.figures:
        units["allocated"] = row.figures["allocated"].predicted_bytes
    residuals = {
        name: (row.figures[name].measured_bytes - row.figures[name].predicted_bytes) / units[name]
        for name in sorted(units)
        if name in row.figures
    }
    return Row(
        card=row.card,
        model=row.model,
        others=row.source != OWN,
        facts=facts_of(row.config, find_gpu(row.card)[0]),
        residuals={name: round(value, _DIGITS) + 0.0 for name, value in residuals.items()},
    )


def main(
    report: Annotated[Path, typer.Argument(help="The accuracy report as JSON.")] = _REPORT,
    file: Annotated[Path, typer.Argument(help="Where to write the table.")] = _FILE,
) -> None:
    """Write the table anew."""
    compared = from_json(json.loads(report.read_text(encoding="utf-8"))).compared
    replace_text(file, table_text(rows_of(compared)))


if __name__ == "__main__":
    typer.run(main)
