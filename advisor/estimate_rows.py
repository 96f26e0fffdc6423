"""`advisor estimate`: one JSON object a line in, one a line out, in order."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from advisor.catalog.assumed import assumed_for
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.catalog.traps import traps_for
from advisor.errors import AdvisorError, unknown_name
from advisor.estimate import Estimator
from advisor.records import GpuSpec, ModelSpec, TrainConfig, config_from_json
from advisor.tape.store import all_wanted

_ROW_KEYS = ("id", "model", "gpu", *(f.name for f in fields(TrainConfig)))
_LARGEST_LINE = 1 << 20  # a row holds at most one config.json


@dataclass(frozen=True, slots=True)
class Question:
    """One row that could be read."""

    id: Any
    model: ModelSpec
    gpu: GpuSpec | None
    config: TrainConfig
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that could not."""

    id: Any
    error: str


def read_question(text: str) -> Question:
    """One row, as `advisor estimate` takes it.

    Raises: AdvisorError where it can't be read.
    """
    return _question(_parsed(1, text))


def answer_rows(lines: Iterable[str], estimator: Estimator) -> Iterator[dict[str, Any]]:
    """An answer for every line that is not blank; a bad one says so in `error`, the others still answer."""
    rows = [_read(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    known = [row for row in rows if isinstance(row, Question)]
    estimator.store.prepare(ask for row in known for ask in all_wanted(row.model, row.config, row.gpu))
    for row in rows:
        yield _answer(row, estimator)


def _answer(row: Question | BadRow, estimator: Estimator) -> dict[str, Any]:
    if isinstance(row, BadRow):
        return {"id": row.id, "error": row.error}
    try:
        estimate = estimator.estimate(row.model, row.config, row.gpu)
    except AdvisorError as error:
        return {"id": row.id, "error": str(error)}
    named = {"model": row.model.name, "gpu": row.gpu.name if row.gpu else None}
    traps = traps_for(row.gpu, row.config, row.model) if row.gpu else ()
    told = {"assumptions": list(row.assumptions), "traps": [trap.to_json() for trap in traps]}
    return {"id": row.id, **estimate.to_json(), **named, **told, "error": None}


def _read(number: int, line: str) -> Question | BadRow:
    name: Any = None
    try:
        row = _parsed(number, line)
        name = row.get("id")
        return _question(row)
    except AdvisorError as error:
        return BadRow(name, str(error))


def _parsed(number: int, line: str) -> dict[str, Any]:
    if len(line) > _LARGEST_LINE:
        raise AdvisorError(f"Line {number} is longer than 1 MiB.")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AdvisorError(f"Line {number} is not JSON.", why=str(error)) from error
    if not isinstance(row, dict):
        raise AdvisorError(f"Line {number} is not a JSON object.")
    return row


def _question(row: dict[str, Any]) -> Question:
    for key in row:
        if key not in _ROW_KEYS:
            raise unknown_name("key", str(key), _ROW_KEYS, fix="see docs/estimate.md for the keys")
    if not row.get("model"):
        raise AdvisorError("The row names no model.", fix='add "model": "llama-3.1-8b"')
    model, assumed = find_model(row["model"])
    gpu, more = find_gpu(row["gpu"]) if row.get("gpu") else (None, [])
    config = config_from_json(row)
    return Question(row.get("id"), model, gpu, config, (*assumed, *more, *assumed_for(config)))
