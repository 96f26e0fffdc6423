"""How some tools write values that TrainConfig writes otherwise."""

import re
from typing import Any

from advisor.errors import AdvisorError
from advisor.interop.table import peft_targets
from advisor.interop.values import Values

_MODULE = re.compile(r"[A-Za-z0-9_.\-]{1,200}")


def decoded(codec: str, value: Any, key: str, values: Values) -> Any:
    """The value as TrainConfig takes it.

    Raises: AdvisorError where it is of another kind, or stands for what the model's type does not tell.
    """
    if codec == "commas":
        parts = value.split(",") if isinstance(value, str) else value
        return _modules(
            [p.strip() if isinstance(p, str) else p for p in parts] if isinstance(parts, list) else parts, key
        )
    if codec == "list":
        return _modules(value, key)
    if codec == "peft":
        return _of_peft(values)
    return value


def encoded(codec: str, value: Any) -> Any:
    """The value as the tool takes it."""
    if codec == "commas" and not isinstance(value, str):
        return ",".join(value)
    return list(value) if isinstance(value, tuple) else value


def _modules(value: Any, key: str) -> Any:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise AdvisorError(
            f"{key} = {str(value)[:100]!r} names no modules.", fix="write a list of module names"
        )
    if "all-linear" in names:
        return "all-linear"
    odd = next((name for name in names if not _MODULE.fullmatch(name)), None)
    if odd is not None:
        raise AdvisorError(
            f"{key} names modules by a pattern: {odd[:100]!r}.",
            why="only names of modules are read here, and all-linear",
            fix="list the names, such as q_proj and v_proj",
        )
    return list(names)


def _of_peft(values: Values) -> Any:
    kind = str(values.get("model.type"))
    if kind not in peft_targets():
        raise AdvisorError(
            "The file names no modules to adapt.",
            why=f"PEFT has a default for some types of model, and {kind} is none of those known here",
            fix="name the modules in the file, such as all-linear",
        )
    return list(peft_targets()[kind])
