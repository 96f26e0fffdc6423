"""The report as JSON, `reports/accuracy.json`: every row, and what they sum up to. One line a row."""

import json
from dataclasses import asdict
from typing import Any

from advisor.errors import AdvisorError, ExitCode
from advisor.records import config_from_json
from bench.accuracy.claims import claims_kept, is_wrong
from bench.accuracy.compared import GROUPS, OWN, Accuracy, Compared, Figure, LeftOut, Verdict
from bench.accuracy.groups import (
    OTHERS,
    PEAKS,
    AtRisk,
    Summary,
    at_risks,
    by_phase,
    counted,
    grouped,
    summaries,
)

SCHEMA = 2  # 1: first; 2: rows have their largest block, and what they need at a risk
_DIGITS = 6  # of an error; more would be noise in a diff


def to_json(accuracy: Accuracy) -> dict[str, Any]:
    """The whole document; `from_json` reads the rows of it back."""
    parts = {"own": accuracy.of(own=True), "others": accuracy.of(own=False)}
    return {
        "schema": SCHEMA,
        "claims": [
            {"claim": kept.claim, "rows": kept.rows, "broken": kept.broken or None}
            for kept in claims_kept(accuracy)
        ],
        "risks": [{"of": of, **_rounded(asdict(s))} for of, part in parts.items() for s in _at_risks(part)],
        "summaries": [line for of, part in parts.items() for line in _summaries(of, part)],
        "rows": [_row(row) for row in accuracy.compared],
        "verdicts": [_verdict(verdict) for verdict in accuracy.verdicts],
        "left_out": [asdict(out) for out in accuracy.left_out],
    }


def from_json(document: dict[str, Any]) -> Accuracy:
    """The rows of a document.

    Raises: AdvisorError where it is of another schema.
    """
    if document["schema"] != SCHEMA:
        raise AdvisorError(
            f"The accuracy report is of schema {document['schema']}.",
            why=f"this version reads {SCHEMA}",
            fix="`python -m bench.accuracy reports` makes it anew, or update the project",
            exit_code=ExitCode.ENVIRONMENT,
        )
    return Accuracy(
        compared=tuple(_read_row(row) for row in document["rows"]),
        verdicts=tuple(_read_verdict(row) for row in document["verdicts"]),
        left_out=tuple(LeftOut(**out) for out in document["left_out"]),
    )


def dumps(document: dict[str, Any]) -> str:
    """The document as text, one line a list's element."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(json.dumps(element) for element in value)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _summaries(of: str, part: Accuracy) -> list[dict[str, Any]]:
    rows = counted(part.compared)
    lines = [_summary(of, "all", s) for s in summaries("all", rows, PEAKS + OTHERS)]
    for by in (*GROUPS, *(() if of == OWN else ("source",))):
        lines += [_summary(of, by, s) for s in grouped(rows, by)]
    return lines + [_summary(of, "phase", s) for s in by_phase(rows)]


def _summary(of: str, by: str, summary: Summary) -> dict[str, Any]:
    return _rounded({"of": of, "by": by, **asdict(summary)})


def _at_risks(part: Accuracy) -> list[AtRisk]:
    return at_risks(counted(part.compared))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, _DIGITS) + 0.0 if isinstance(v, float) else v for k, v in values.items()}


def _row(row: Compared) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.source,
        "card": row.card,
        "model": row.model,
        "config": row.config.to_json(),
        "repeats": row.repeats or None,
        **({"outliers": True} if row.outliers else {}),
        "figures": {name: _figure(figure) for name, figure in row.figures.items()},
        "phases": {name: _figure(figure) for name, figure in row.phases.items()},
        "largest_block_bytes": row.largest_block_bytes,
        "needed_bytes": row.needed_bytes,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {**asdict(figure), "error": round(figure.error, _DIGITS) + 0.0}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    values = {**asdict(verdict), "config": verdict.config.to_json()}
    return {**values, "excess": round(verdict.excess, _DIGITS) + 0.0, "wrong": is_wrong(verdict)}


def _read_row(row: dict[str, Any]) -> Compared:
    return Compared(
        id=row["id"],
        source=row["source"],
        card=row["card"],
        model=row["model"],
        config=config_from_json(row["config"]),
        repeats=row["repeats"] or "",
        outliers=row.get("outliers", False),
        figures={name: _read_figure(figure) for name, figure in row["figures"].items()},
        phases={name: _read_figure(figure) for name, figure in row["phases"].items()},
        largest_block_bytes=row["largest_block_bytes"],
        needed_bytes=row["needed_bytes"],
    )


def _read_figure(figure: dict[str, Any]) -> Figure:
    return Figure(**{name: value for name, value in figure.items() if name != "error"})


def _read_verdict(row: dict[str, Any]) -> Verdict:
    values = {name: value for name, value in row.items() if name not in ("excess", "wrong")}
    return Verdict(**{**values, "config": config_from_json(row["config"])})
