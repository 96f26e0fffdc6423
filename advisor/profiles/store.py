"""Measured rows: JSON Lines in `profiles/`, one folder a card, one below it an environment.

A row is one config on one card in one fresh process; failures are rows too. `profiles/README.md` explains
every key.
"""

import gc
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from advisor.catalog.names import shown
from advisor.errors import AdvisorError, ExitCode
from advisor.profiles.appending import append_lines, whole_lines
from advisor.profiles.check import check_not_personal, check_row, check_withdrawal
from advisor.profiles.environments import environment_folder, read_environment
from advisor.profiles.folders import PROBE, Place, check_place, known_folders, place_path, places
from advisor.profiles.probe import probe_from_row
from advisor.profiles.record import Measurement
from advisor.profiles.row import SCHEMA, digest, row_id, row_to_measurement, upgraded

_IDS = re.compile(rb'"id":\s*"([0-9a-f]{16})"')


@dataclass(frozen=True, slots=True)
class _Found:
    """A row in the present schema, and the line that has it."""

    place: Place
    row: dict[str, Any]
    path: Path
    number: int


def read_rows(folder: Path, *, withdrawn: bool = False) -> Iterator[Measurement]:
    """Every row under the folder, file by file; withdrawn ones only where they are asked for.

    Raises: AdvisorError naming file and line where a row can't be read or is of a newer schema.
    """
    yield from _measurements((folder,), withdrawn=withdrawn)


def known_rows(*, withdrawn: bool = False) -> Iterator[Measurement]:
    """The user's own rows and those that ship, each once; a row that either withdraws is left out."""
    yield from _measurements(known_folders(), withdrawn=withdrawn)


def rows_of(card: str, model: str) -> Iterator[Measurement]:
    """As `known_rows`, of one model on one card; the files of others are not read."""
    yield from _measurements(known_folders(), withdrawn=False, card=card, model=model)


def stored_rows(*folders: Path, withdrawn: bool = False) -> Iterator[tuple[Place, dict[str, Any]]]:
    """As `read_rows`, of several folders, with each row as its file has it, in the present schema."""
    for found in _stored(folders, withdrawn=withdrawn):
        yield found.place, found.row


def append_row(folder: Path, place: Place, row: dict[str, Any]) -> str:
    """Append the row, on the disk when this returns, and give its id; one that is there stays alone.

    A probe's row goes to the place whose model is `probe`.
    Raises: AdvisorError where the row is none that may be kept, or it can't be written.
    """
    named = row if row.get("id") else row | {"id": row_id(place, row)}
    append_rows(folder, place, [named])
    return str(named["id"])


def append_rows(folder: Path, place: Place, rows: Iterable[dict[str, Any]]) -> int:
    """Append those rows of one place that are not there, all or none of them; gives how many were not.

    Raises: AdvisorError as `append_row`.
    """
    kept = list(rows)
    try:
        for row in kept:
            _check(place, row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AdvisorError("This row can't be kept.", why=str(error), fix="nothing was written") from error
    read_environment(folder, *place[:2])  # rows without one could not be compared with anything
    return _append(place_path(folder, place), kept)


def withdraw_row(folder: Path, withdrawn_id: str, reason: str) -> Place:
    """Withdraw a known row by a line in the folder; gives the row's place.

    Raises: AdvisorError where no row has the id, it is withdrawn already, or the reason may not be kept.
    """
    folders = tuple(dict.fromkeys((folder, *known_folders())))
    origin, place = _find(folders, withdrawn_id)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = {"schema": SCHEMA, "withdraws": withdrawn_id, "reason": reason, "measured_at": at}
    line = {"schema": SCHEMA, "id": digest([*place, line])} | line
    try:
        check_withdrawal(line)
    except ValueError as error:
        raise AdvisorError(
            "This can't be the reason of a withdrawal.", why=str(error), fix="reword it"
        ) from error
    environment_folder(folder, place[0], read_environment(origin, *place[:2]))
    _append(place_path(folder, place), [line])
    return place


def _check(place: Place, row: dict[str, Any]) -> None:
    card, environment, model = place
    if model == PROBE:
        check_place((card, environment, "any"))
        probe_from_row(json.loads(json.dumps(row, allow_nan=False)), card=card, environment=environment)
        check_not_personal(row)
    else:
        check_place(place)
        check_row(row)


def _find(folders: tuple[Path, ...], asked: str) -> tuple[Path, Place]:
    """The folder and the place of a row that is not withdrawn."""
    for found in _stored(folders):
        if found.row["id"] == asked:
            return found.path.parents[2], found.place
    gone = any(found.row["id"] == asked for found in _stored(folders, withdrawn=True))
    raise AdvisorError(
        f"Row {asked} is withdrawn already." if gone else f"No row has the id {shown(asked)}.",
        fix="" if gone else "`advisor profiles list --rows` shows every row with its id",
    )


def _append(path: Path, lines: list[dict[str, Any]]) -> int:
    added: list[dict[str, Any]] = []

    def new_lines(content: bytes) -> bytes:
        there = {found.decode() for found in _IDS.findall(content)}
        added.extend({line["id"]: line for line in lines if line["id"] not in there}.values())
        return b"".join(json.dumps(line).encode() + b"\n" for line in added)

    append_lines(path, new_lines)
    return len(added)


def _measurements(
    folders: tuple[Path, ...], *, withdrawn: bool, card: str = "", model: str = ""
) -> Iterator[Measurement]:
    for place, paths in _files(folders):
        if (card and place[0] != card) or (model and place[2] != model):
            continue
        with _uncollected():
            made = [_measurement(found) for found in _rows(place, paths, withdrawn=withdrawn)]
        yield from made


def _measurement(found: _Found) -> Measurement:
    try:
        return row_to_measurement(found.place, found.row)
    except (KeyError, TypeError, ValueError, AttributeError, AdvisorError) as error:
        raise _unreadable(found.path, found.number, error) from error


def _stored(folders: tuple[Path, ...], *, withdrawn: bool = False) -> Iterator[_Found]:
    for place, paths in _files(folders):
        yield from _rows(place, paths, withdrawn=withdrawn)


def _files(folders: tuple[Path, ...]) -> Iterator[tuple[Place, list[Path]]]:
    """Every place in order, with the files that the folders have of it."""
    files = [places(folder) for folder in folders]
    for place in sorted(set().union(*files)):
        yield place, [found[place] for found in files if place in found]


def _rows(place: Place, paths: list[Path], *, withdrawn: bool) -> list[_Found]:
    """The rows of one place, each once."""
    rows: dict[str, _Found] = {}
    gone: set[str] = set()
    for path in paths:
        for number, line in _lines(path):
            if "withdraws" in line:
                gone.add(line["withdraws"])
            else:
                rows.setdefault(line["id"], _Found(place, line, path, number))
    return [found for name, found in rows.items() if withdrawn or name not in gone]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a file in the present schema; one that is just being written is not one yet."""
    try:
        text = whole_lines(path.read_bytes()).decode()
    except OSError as error:
        raise _unreadable(path, 1, error) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, error.object.count(b"\n", 0, error.start) + 1, error) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = upgraded(json.loads(line))
                hash((row["id"], row.get("withdraws")))
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise _unreadable(path, number, error) from error
            yield number, row


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would walk again and again through rows that stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unreadable(path: Path, number: int, error: Exception) -> AdvisorError:
    return AdvisorError(
        f"{path}, line {number} is not a row that can be read.",
        why=f"{type(error).__name__}: {error}",
        fix="update the project, or take the line out",
        exit_code=ExitCode.ENVIRONMENT,
    )
