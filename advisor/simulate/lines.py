"""Which line of the model's code asked for an allocation."""

import linecache
import sys
from functools import cache
from pathlib import PurePath
from traceback import walk_stack

# The innermost frame of a model's own code is what people know; where there is none, that of the libraries around it.
_MODELS = "/transformers/models/"
_AROUND = ("/transformers/", "/peft/", "/trl/", "/bitsandbytes/", "/accelerate/")
_ENGINE = (
    "_engine_run_backward"  # torch's autograd: what is below it asked for all gradients, not for this one
)
_LONGEST = 70  # characters of the source that are told


def nowhere() -> str:
    """No line: what tapes hold that are kept for all shapes and shipped."""
    return ""


def model_line() -> str:
    """File, number and text of the line; empty where autograd's own engine asked."""
    around: tuple[str, int] | None = None
    for frame, line in walk_stack(sys._getframe(1)):
        code = frame.f_code
        if code.co_name == _ENGINE:
            break
        kind = _kind(code.co_filename)
        if kind == _MODELS:
            return _told(code.co_filename, line)
        if kind and around is None:
            around = code.co_filename, line
    return "" if around is None else _told(*around)


@cache
def _kind(file: str) -> str:
    if _MODELS in file:
        return _MODELS
    return next((package for package in _AROUND if package in file), "")


@cache
def _told(file: str, line: int) -> str:
    source = linecache.getline(file, line).strip()
    short = source if len(source) <= _LONGEST else source[: _LONGEST - 1] + "…"
    return f"{PurePath(file).name}:{line} {short}"
