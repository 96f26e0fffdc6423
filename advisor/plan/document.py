"""A plan: the chosen config, what it will cost, why, what was rejected, and how to run it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError
from advisor.files import write_new
from advisor.records import Estimate, Reason, TrainConfig, config_from_json

SCHEMA = 1  # 1: first
_LARGEST_FILE_BYTES = 1 << 20  # a plan is a few kilobytes; what is larger is not one


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The card a plan is for, and what it gives to the allocator."""

    name: str
    memory_bytes: int  # as torch reports it
    board_bytes: int  # as NVML reports it; the driver keeps the difference
    usable_bytes: int  # memory less context, its uncertainty, and what the user reserves
    context_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model a plan is for: a catalog name or a path, with the facts of its config.json."""

    name: str
    parameters: int
    source: str
    config: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One dimension of the plan, and why it is as it is."""

    name: str
    value: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A config that was not chosen, with the number that decided.

    `lower_bound`: the bytes are those of the weights alone, for they are already too many.
    """

    label: str
    config: TrainConfig
    needed_bytes: int
    lower_bound: bool
    reason: Reason
    tokens_per_second: float | None = None  # None where no tape was at hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A config than which no other that was looked at is better in memory, speed and worth at once."""

    label: str
    config: TrainConfig
    needed_bytes: int  # of reserved memory at the plan's risk
    lower_bound: bool
    tokens_per_second: float
    worth: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `advisor plan` answers and `advisor run` executes."""

    model: Model
    card: Card
    config: TrainConfig
    estimate: Estimate
    choices: tuple[Choice, ...]
    alternatives: tuple[Alternative, ...]
    assumptions: tuple[str, ...]
    command: str
    versions: dict[str, str]
    goal: str
    risk: float
    front: tuple[Point, ...]
    examined: int  # configs that were weighed, each by a bound at least


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """One versioned document."""
    return {
        "schema": SCHEMA,
        "kind": "plan",
        "model": {
            "name": plan.model.name,
            "parameters": plan.model.parameters,
            "source": plan.model.source,
            "config": plan.model.config,
        },
        "gpu": {
            "name": plan.card.name,
            "memory_bytes": plan.card.memory_bytes,
            "board_bytes": plan.card.board_bytes,
            "usable_bytes": plan.card.usable_bytes,
            "context_bytes": plan.card.context_bytes,
        },
        "config": plan.config.to_json() | {"effective_batch": plan.config.effective_batch},
        "estimate": plan.estimate.to_json(),
        "choices": [
            {"name": c.name, "value": c.value, "code": c.reason.code, "reason": c.reason.text}
            for c in plan.choices
        ],
        "alternatives": [
            {
                "label": a.label,
                "config": a.config.to_json(),
                "needed_bytes": a.needed_bytes,
                "lower_bound": a.lower_bound,
                "code": a.reason.code,
                "reason": a.reason.text,
                "tokens_per_second": a.tokens_per_second,
            }
            for a in plan.alternatives
        ],
        "goal": plan.goal,
        "risk": plan.risk,
        "examined": plan.examined,
        "front": [asdict(p) | {"config": p.config.to_json()} for p in plan.front],
        "assumptions": list(plan.assumptions),
        "command": plan.command,
        "versions": plan.versions,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """What a run needs of a plan file; the rest of the file explains it to people."""

    model: Model
    card: Card
    config: TrainConfig
    estimate: dict[str, Any]  # as the file holds it, to put beside what is measured


def save_plan(plan: Plan, path: Path, *, force: bool = False) -> None:
    """Write the plan; an existing file stays, unless `force`."""
    write_new(path, json.dumps(plan_to_json(plan), indent=2) + "\n", force=force)


def load_plan(path: Path) -> PlannedRun:
    """Read a plan file, which is hostile until it has been read.

    Raises: AdvisorError where the file is missing, too large, of a newer schema or not a plan.
    """
    document = _document(path)
    try:
        model, card = document["model"], document["gpu"]
        return PlannedRun(
            model=Model(
                name=_text(model, "name"),
                parameters=_bytes(model, "parameters"),
                source=_text(model, "source"),
                config=_table(model, "config"),
            ),
            card=Card(
                name=_text(card, "name"),
                memory_bytes=_bytes(card, "memory_bytes"),
                board_bytes=_bytes(card, "board_bytes"),
                usable_bytes=_bytes(card, "usable_bytes"),
                context_bytes=_bytes(card, "context_bytes"),
            ),
            config=config_from_json(_table(document, "config")),
            estimate=_table(document, "estimate"),
        )
    except (KeyError, TypeError) as error:
        raise _not_a_plan(path, f"the key {error} is missing or of another kind") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise _not_a_plan(path, "it is larger than 1 MiB")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        fix = "make one: advisor plan --gpu 16GB --model 8B -o plan.json"
        raise AdvisorError(f"There is no file {path}.", fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _not_a_plan(path, str(error)) from error
    if not isinstance(document, dict) or document.get("kind") != "plan":
        raise _not_a_plan(path, 'it has no "kind": "plan"')
    if document.get("schema") != SCHEMA:
        raise _not_a_plan(path, f"schema {document.get('schema')}, this version reads {SCHEMA}")
    return document


def _not_a_plan(path: Path, why: str) -> AdvisorError:
    return AdvisorError(f"{path} is not a plan.", why=why, fix="write one with: advisor plan … -o FILE")


def _text(table: dict[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise TypeError(key)
    return str(table[key])


def _bytes(table: dict[str, Any], key: str) -> int:
    if not isinstance(table[key], int) or isinstance(table[key], bool) or table[key] < 0:
        raise TypeError(key)
    return int(table[key])


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(table[key], dict):
        raise TypeError(key)
    return dict(table[key])
