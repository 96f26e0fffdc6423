"""Models by name, by size, or by their config.json; what had to be assumed comes with the model."""

import copy
import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from advisor.catalog.classes import model_classes, parse_model_size
from advisor.catalog.config_file import read_config_file
from advisor.catalog.model_facts import checked_facts
from advisor.catalog.names import key, natural_order, shown
from advisor.catalog.parameters import count_parameters
from advisor.errors import AdvisorError, unknown_name
from advisor.records import ModelSpec

_FOLDER = Path(__file__).with_name("models")
_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]{,60}")  # no separators: a name can't leave the folder
_LONGEST = 4096  # characters of a path
_FIX = "`advisor show models` lists the catalog; for another model give the path of its config.json"


def find_model(text: str | Mapping[str, Any]) -> tuple[ModelSpec, list[str]]:
    """The model behind a catalog name, a hub name, a size or a config.json, and what was assumed.

    A name of the catalog comes before a directory of the same name; `./name` means the directory.
    Raises: AdvisorError naming the nearest names, or the file and the field.
    """
    if isinstance(text, Mapping):
        return model_from_config(text, "config")
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise AdvisorError(f"{shown(text)} is not the name of a model.", fix=_FIX)
    if parameters := parse_model_size(text.strip()):
        return _of_that_size(text, parameters)
    if slug := _slug_of(text):
        return _named(slug), [*_notes(slug), *_shadowed(text)]
    if _is_path(text):
        return model_from_config(read_config_file(Path(text)), text, source=text)
    known = [name.lower() for slug in _slugs() for name in (slug, *_row(slug)["aliases"])]
    raise unknown_name("model", text, known, fix=_FIX)


def model_from_config(
    config: Mapping[str, Any], name: str, *, source: str = "the given config"
) -> tuple[ModelSpec, list[str]]:
    """The model that the content of a config.json describes, and what was assumed.

    `parameters` is 0, and an assumption says so, where the model type is not known to this catalog.
    Raises: AdvisorError naming the field that is missing or wrong.
    """
    facts, assumptions = checked_facts(config, name)
    parameters = count_parameters(facts)
    if not parameters:
        kind = facts["model_type"]
        assumptions.append(f"{name} is of type {kind}, whose weights are counted by tracing alone")
    return ModelSpec(name=name, config=facts, parameters=parameters, source=source), assumptions


def all_models() -> tuple[ModelSpec, ...]:
    """Every model of the catalog, by name."""
    return tuple(_named(slug) for slug in _slugs())


def _of_that_size(text: str, parameters: float) -> tuple[ModelSpec, list[str]]:
    sizes = model_classes()
    for size in sizes:
        if size.parameters == parameters:
            because = f'"{text}" stands for {size.model}: {size.reason}'
            return _named(size.model), [because, *_notes(size.model)]
    near = sorted(sizes, key=lambda size: abs(size.parameters - parameters))[:2]
    why = "nearest sizes: " + ", ".join(f"{size.size} ({size.model})" for size in near)
    raise AdvisorError(f"No model of the catalog stands for {text!r}.", why=why, fix=_FIX)


@cache
def _slugs() -> tuple[str, ...]:
    return tuple(sorted((path.stem for path in _FOLDER.glob("*.json")), key=natural_order))


@cache
def _row(slug: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((_FOLDER / f"{slug}.json").read_text(encoding="utf-8"))
    return row


def _named(slug: str) -> ModelSpec:
    row = _row(slug)
    return ModelSpec(
        name=slug,
        config=copy.deepcopy(row["config"]),  # transformers writes into what it is given
        parameters=row["parameters"],
        source=f"{row['source']} ({row['date']}, confidence {row['confidence']})",
        hub_name=next((alias for alias in row["aliases"] if "/" in alias), ""),
    )


def _notes(slug: str) -> list[str]:
    note = _row(slug).get("assumption")
    return [note] if note else []


def _slug_of(text: str) -> str | None:
    """The catalog name itself costs one file; any other spelling reads them all."""
    if _SLUG.fullmatch(text) and (_FOLDER / f"{text}.json").is_file():
        return text
    return _slugs_by_key().get(key(text))


@cache
def _slugs_by_key() -> dict[str, str]:
    """Catalog names by every spelling: their own, hub names, and hub names without their owner."""
    found: dict[str, str] = {}
    for slug in _slugs():
        for name in (slug, *_row(slug)["aliases"]):
            found[key(name)] = found[key(name.rpartition("/")[2])] = slug
    return found


def _is_path(text: str) -> bool:
    return text.endswith(".json") or text.startswith((".", "/", "~")) or _exists(text)


def _exists(text: str) -> bool:
    return os.path.exists(text)  # noqa: PTH110 - Path.exists raises where the text can't be a path


def _shadowed(text: str) -> list[str]:
    if not _exists(text):
        return []
    return [f"{text} is read from the catalog, not from the directory here; ./{text} means that"]
