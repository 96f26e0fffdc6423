"""Rows in one file that travels: written for others, and theirs taken in once every line is checked."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.catalog.gpus import find_gpu
from advisor.catalog.names import shown
from advisor.errors import AdvisorError, ExitCode
from advisor.files import write_new
from advisor.profiles.check import check_facts, check_row
from advisor.profiles.environments import (
    environment_folder,
    environment_name,
    read_environment,
    same_environment,
)
from advisor.profiles.folders import Place, check_place, known_folders
from advisor.profiles.row import PLACE_KEYS, SCHEMA, row_id, upgraded
from advisor.profiles.store import append_rows, stored_rows

KIND = "advisor-profiles"
LARGEST_BYTES = 64 << 20
MOST_ROWS = 50_000
LONGEST_LINE = 1 << 20  # characters; a row has about 1,500
MERGED_SCHEMAS = (2, SCHEMA)
_HEADER_KEYS = {"schema", "kind", "environments"}

Rows = dict[Place, list[dict[str, Any]]]
Environments = dict[str, dict[str, Any]]  # facts by the folder's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What became of the rows of a file."""

    added: int
    skipped: int  # were there already


def export_rows(  # noqa: PLR0913 - each of the last narrows what is written
    folder: Path,
    target: Path,
    *,
    card: str | None = None,
    environment: str | None = None,
    model: str | None = None,
    force: bool = False,
) -> int:
    """Write the folder's rows, or those of a card, an environment or a model, to a file; gives how many.

    Raises: AdvisorError where there are none, or the file exists and `force` is not given.
    """
    asked = (card, environment, model)
    chosen = [(place, row) for place, row in stored_rows(folder) if _matches(place, asked)]
    if not chosen:
        of = ", ".join(filter(None, asked)) or "any kind"
        raise AdvisorError(f"{folder} has no rows of {of} to write.", exit_code=ExitCode.NO)
    environments = {
        place[1]: read_environment(folder, *place[:2]) for place in dict.fromkeys(p for p, _ in chosen)
    }
    header = {"schema": SCHEMA, "kind": KIND, "environments": environments}
    lines = [dict(zip(PLACE_KEYS, place, strict=True)) | row for place, row in chosen]
    write_new(target, "".join(json.dumps(line) + "\n" for line in (header, *lines)), force=force)
    return len(chosen)


def merge_file(file: Path, folder: Path) -> Merged:
    """Add a file's rows to the folder, as contributed; nothing is written before every line is checked.

    Raises: AdvisorError naming the line that is wrong and why.
    """
    environments, rows = read_shared(file)
    for card, name in {place[:2] for place in rows}:
        same_environment(folder, card, name, environments[name])
    known = {row["id"] for _, row in stored_rows(*known_folders(), folder, withdrawn=True)}
    added = 0
    for place, of_place in rows.items():
        if new := [row for row in of_place if row["id"] not in known]:
            environment_folder(folder, place[0], environments[place[1]])
            added += append_rows(folder, place, new)
    return Merged(added=added, skipped=sum(map(len, rows.values())) - added)


def read_shared(file: Path) -> tuple[Environments, Rows]:
    """The environments and the rows of a file that someone else made, checked.

    Raises: AdvisorError naming the line that is wrong and why.
    """
    lines = _bounded(file).split(b"\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    if len(lines) > MOST_ROWS + 1:
        raise _refused(f"{file} has more than {MOST_ROWS} rows.", "a file of one card has hundreds")
    environments: Environments = _checked(file, 1, lines[0], _environments)
    rows: Rows = defaultdict(list)
    for number, line in enumerate(lines[1:], start=2):
        place, row = _checked(file, number, line, lambda value: _row(value, environments))
        rows[place].append(row)
    return environments, rows


def _matches(place: Place, asked: tuple[str | None, ...]) -> bool:
    return all(want in (None, name) for want, name in zip(asked, place, strict=True))


def _bounded(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise AdvisorError(f"Can't read {file}.", why=error.strerror or str(error)) from error
    if len(content) > LARGEST_BYTES:
        raise _refused(f"{file} has more than {LARGEST_BYTES >> 20} MiB.", "a row has about 1.5 KB")
    return content


def _checked(file: Path, number: int, line: bytes, check: Callable[[Any], Any]) -> Any:
    try:
        if len(line) > LONGEST_LINE:
            raise ValueError(f"it is longer than {LONGEST_LINE} bytes")  # noqa: TRY301 - told with the others
        return check(json.loads(line.decode(), parse_constant=_no_constant, object_pairs_hook=_no_doubles))
    except (ValueError, RecursionError) as error:
        raise _refused(f"{file}, line {number} can't be merged.", str(error)) from error


def _refused(what: str, why: str) -> AdvisorError:
    return AdvisorError(what, why=why, fix="ask its author for another file; nothing was written")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _environments(header: Any) -> Environments:
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise ValueError(
            f'the first line is no header of kind "{KIND}"; `advisor profiles export` writes one'
        )
    if header.get("schema") not in MERGED_SCHEMAS:
        raise ValueError(
            f"schema = {shown(header.get('schema'))}, this version merges {' and '.join(map(str, MERGED_SCHEMAS))}: "
            "update the project"
        )
    if header.keys() != _HEADER_KEYS or not isinstance(header["environments"], dict):
        raise ValueError(f"a header has the keys {', '.join(sorted(_HEADER_KEYS))} alone")
    environments: Environments = dict(header["environments"])
    for name, facts in environments.items():
        check_facts(facts)
        if environment_name(facts) != name:
            raise ValueError(f"environment {shown(name)}: its facts give {environment_name(facts)}")
    return environments


def _row(value: Any, environments: Environments) -> tuple[Place, dict[str, Any]]:
    """The row as it will be kept, and where."""
    if not isinstance(value, dict) or not set(PLACE_KEYS) <= value.keys():
        raise ValueError(f"a row says its {', '.join(PLACE_KEYS)}")
    card, environment, model = (value[key] for key in PLACE_KEYS)
    place: Place = (card, environment, model)
    check_place(place)
    if environment not in environments:
        raise ValueError(f"environment {environment} is not in the file's header")
    if environments[environment]["card"] != find_gpu(card)[0].name:
        raise ValueError(f"card {card} is not that of environment {environment}")
    told = {key: part for key, part in value.items() if key not in PLACE_KEYS}
    if told.get("schema") not in MERGED_SCHEMAS:
        raise ValueError(f"schema = {shown(told.get('schema'))}, expected {SCHEMA}")
    row = upgraded(told)
    check_row(row)
    if row["benchmark_version"] != 1 and row["id"] != row_id(place, row):  # the first had another formula
        raise ValueError(
            f"id = {row['id']}, but what the row says gives {row_id(place, row)}: it was changed"
        )
    return place, row | {"provenance": "contributed"}
