"""The keys of one file as a mapping asks for them: flattened, with the tool's defaults and what else is known."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advisor.interop.table import UNSET, Table


@dataclass(frozen=True, slots=True)
class Values:
    """What a file says, what the tool takes where it says nothing, and facts of card and model."""

    given: Mapping[str, Any]
    defaults: Mapping[str, Any]
    facts: Mapping[str, Any]  # card.bf16, model.dtype, model.type

    def get(self, key: str) -> Any:
        """The value of the key, or `unset`."""
        for source in (self.given, self.facts, self.defaults):
            if source.get(key) is not None:
                return source[key]
        return UNSET

    def holds(self, when: Mapping[str, tuple[Any, ...]]) -> bool:
        """Whether every condition is met."""
        return all(any(same(self.get(key), value) for value in values) for key, values in when.items())


def same(left: Any, right: Any) -> bool:
    """Equal, and true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def flattened(document: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The keys of a file; one level of a nested table with a dot, where the mapping knows such keys."""
    known = (*table.decisive, *table.defaults, *table.ignored, *(c.key for c in table.caveats))
    nested = {key.partition(".")[0] for key in known if "." in key}
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner = _as_table(value) if key in nested else None
        if inner is None:
            flat[key] = value
        else:
            flat |= {f"{key}.{name}": part for name, part in inner.items()}
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round: dotted keys as tables."""
    document: dict[str, Any] = {}
    for key, value in flat.items():
        outer, dot, inner = key.partition(".")
        if dot:
            document.setdefault(outer, {})[inner] = value
        else:
            document[key] = value
    return document


def _as_table(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str) and value.lstrip().startswith("{"):  # as argument parsers take tables
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    return None
