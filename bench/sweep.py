"""Which configs to measure: sweep files, narrowed by what the user asks for.

A sweep is TOML: `[[rows]]` tables whose keys are `models` and the fields of a config; a list stands for each of its
values in turn, and a table for every combination. A `.jsonl` file holds single configs, as `advisor estimate` takes them.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from advisor.catalog.models import find_model
from advisor.errors import AdvisorError, unknown_name
from advisor.fast_adapters import with_fast_adapters
from advisor.records import Method, Precision, TrainConfig, config_from_json
from bench.request import Request

SCHEMA = 1
FOLDER = Path(__file__).parent / "sweeps"
_CONFIG_KEYS = tuple(f.name for f in fields(TrainConfig))
_LARGEST_FILE_BYTES = 16 << 20
_MOST_REQUESTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """What of a sweep is asked for; an empty choice takes everything."""

    models: tuple[str, ...] = ()
    choices: Mapping[str, tuple[Any, ...]]  # a field of the config -> the values to keep

    def keeps(self, request: Request) -> bool:
        """Whether the request is among what is asked for."""
        if self.models and request.model.name not in self.models:
            return False
        return all(not kept or _plain(request.config, name) in kept for name, kept in self.choices.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A named list of requests."""

    name: str
    about: str
    requests: tuple[Request, ...]


def load_sweep(name: str) -> Sweep:
    """The sweep of that name, or of that file.

    Raises: AdvisorError where there is none, or where it can't be read.
    """
    path = _path(name)
    text = _text(path)
    if path.suffix == ".jsonl":
        requests = [
            _single(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()
        ]
        return Sweep(name=path.stem, about=f"the configs of {path}", requests=_once(requests))
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and nesting
        raise AdvisorError(
            f"{path} is not TOML.", why=str(error), fix="see bench/sweeps for examples"
        ) from error
    if document.get("schema") != SCHEMA:
        raise AdvisorError(
            f"{path} has schema {document.get('schema')!r}.",
            why=f"this version reads {SCHEMA}",
            fix=f"write schema = {SCHEMA}, or update",
        )
    tables = document.get("rows", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise AdvisorError(f"rows of {path} is no list of tables.", fix="write [[rows]] above each")
    requests = [request for table in tables for request in _combinations(path, table)]
    return Sweep(name=path.stem, about=str(document.get("about", "")), requests=_once(requests))


def narrowed(sweep: Sweep, narrow: Narrow) -> tuple[Request, ...]:
    """The requests that are asked for.

    Raises: AdvisorError where none is left.
    """
    kept = tuple(request for request in sweep.requests if narrow.keeps(request))
    if not kept:
        held = sorted({request.model.name for request in sweep.requests})
        raise AdvisorError(
            f"Nothing of the sweep {sweep.name!r} is left.",
            why=f"it holds {len(sweep.requests)} configs of {', '.join(held)}",
            fix="ask for less, or give another sweep",
        )
    return kept


def _path(name: str) -> Path:
    if "/" in name or name.endswith((".toml", ".jsonl")):
        return Path(name)
    path = FOLDER / f"{name}.toml"
    if not path.exists():
        known = [each.stem for each in FOLDER.glob("*.toml")]
        raise unknown_name("sweep", name, known, fix="give one of these, or a .toml or .jsonl file")
    return path


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise AdvisorError(f"{path} is larger than 16 MiB.", fix="give a sweep")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AdvisorError(
            f"Can't read {path}.", why=str(error), fix="give a .toml or .jsonl file"
        ) from error


def _combinations(path: Path, table: Mapping[str, Any]) -> Iterator[Request]:
    for key in table:
        if key not in ("models", *_CONFIG_KEYS):
            raise unknown_name("key", str(key), ("models", *_CONFIG_KEYS), fix=f"mend {path}")
    models = [find_model(str(name))[0] for name in _values(table.get("models"))]
    if not models:
        raise AdvisorError(f"A table of {path} names no models.", fix='add models = ["llama-3.2-1b"]')
    names = [name for name in _CONFIG_KEYS if name in table]
    lists = [_values(table[name]) for name in names]
    count = prod(map(len, lists), start=len(models))
    if count > _MOST_REQUESTS:
        raise AdvisorError(f"A table of {path} stands for {count:,} configs.", fix="a smaller one")
    for model in models:
        for values in product(*lists):
            config = _usual(dict(zip(names, values, strict=True)))
            yield Request(model=model, config=config)


def _usual(row: dict[str, Any]) -> TrainConfig:
    """What goes with a choice and need not be said: fp16 weights compute in fp16, adapters are as plans have them."""
    if row.get("precision") == "fp16" and "autocast" not in row:
        row |= {"autocast": "fp16"}
    config = config_from_json(with_fast_adapters(config_from_json(row)).to_json() | row)
    if config.method is Method.FULL and config.precision in (
        Precision.INT8,
        Precision.NF4,
        Precision.NF4_SINGLE,
    ):
        raise AdvisorError(f"{config.precision.value} weights can't be trained whole.", fix="mend the sweep")
    return config


def _single(path: Path, number: int, line: str) -> Request:
    try:
        row = dict(json.loads(line))
        known = ("id", "gpu", "model", "cap_bytes", "predicted_bytes", "predicted_cap_bytes", *_CONFIG_KEYS)
        for key in row:
            if key not in known:
                raise unknown_name("key", str(key), known, fix="see docs/estimate.md for the keys")
        model = find_model(row["model"])[0]
        return Request(
            model=model,
            config=config_from_json(row),
            cap_bytes=_bytes(row.get("cap_bytes")),
            predicted_bytes=_bytes(row.get("predicted_bytes")),
            predicted_cap_bytes=_bytes(row.get("predicted_cap_bytes")),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise AdvisorError(
            f"{path}, line {number} is no config.",
            why=repr(error),
            fix="one JSON object a line, with a model",
        ) from error


def _bytes(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise TypeError(f"{value!r} is no number of bytes")
    return value


def _values(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


def _once(requests: Iterable[Request]) -> tuple[Request, ...]:
    kept = {request.key: request for request in requests}
    if len(kept) > _MOST_REQUESTS:
        raise AdvisorError(f"A sweep of {len(kept):,} configs.", fix="a smaller one")
    return tuple(kept.values())


def _plain(config: TrainConfig, name: str) -> Any:
    value = getattr(config, name)
    return getattr(value, "value", value)
