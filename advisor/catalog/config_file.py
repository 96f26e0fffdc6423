"""Reads a config.json that someone else wrote."""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from advisor.errors import AdvisorError

_LARGEST_BYTES = 1 << 20  # a config.json is a few kilobytes; what is larger is not one
_FIX = "give a model's config.json, or the directory that has it"


def read_config_file(path: Path) -> dict[str, Any]:
    """The object in a config.json, or in that of a directory; its fields are not checked yet.

    Raises: AdvisorError with the file, and the line where it is not JSON.
    """
    file = path / "config.json" if os.path.isdir(path) else path  # noqa: PTH112 - Path.is_dir may raise
    try:
        found = json.loads(_text(file), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise AdvisorError(f"{file}, line {error.lineno}, is not JSON.", why=error.msg, fix=_FIX) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, NaN, nesting
        raise AdvisorError(f"{file} is not JSON.", why=str(error), fix=_FIX) from error
    if not isinstance(found, dict):
        raise AdvisorError(
            f"{file} holds no JSON object.", why=f"it holds a {type(found).__name__}", fix=_FIX
        )
    return found


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise AdvisorError(f"There is no file {file}.", fix=_FIX)
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise AdvisorError(f"Can't read {file}.", why=error.strerror or str(error), fix=_FIX) from error
    if len(content) > _LARGEST_BYTES:
        raise AdvisorError(
            f"{file} is larger than 1 MiB.", why="a config.json takes a few kilobytes", fix=_FIX
        )
    return _decoded(file, content)


def _decoded(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise AdvisorError(f"{file}, line {line}, is not UTF-8 text.", why=error.reason, fix=_FIX) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
