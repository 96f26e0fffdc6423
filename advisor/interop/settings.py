"""What to write into a file so that it means another config."""

import json
from typing import Any

from advisor.interop.reading import PLAN
from advisor.interop.table import Table, table
from advisor.interop.values import same
from advisor.interop.writing import differences, keys_of
from advisor.records import Loss, TrainConfig, all_values


def settings_between(format_name: str, here: TrainConfig, there: TrainConfig) -> tuple[str, ...]:
    """Lines in the format's own words that lead from one config to the other; a plan, or none, has fields' names."""
    left, right = all_values(here), all_values(there)
    changed = [name for name in left if left[name] != right[name]]
    if format_name in ("", PLAN):
        return tuple(f"{name}: {_shown(right[name])}" for name in changed)
    mapping = table(format_name)
    (before, _), (after, said) = keys_of(here, mapping), keys_of(there, mapping)
    lines = [f"{key}: {_shown(value)}" for key, value in after.items() if not same(before.get(key), value)]
    lines += [f"{key}: {right[name]}" for name in changed if (key := _read_only_key(mapping, name))]
    unsaid = differences(there, said)
    lines += [mapping.elsewhere[name] for name in changed if name in unsaid and name in mapping.elsewhere]
    return tuple(lines)


def can_be_set(format_name: str, here: TrainConfig, there: TrainConfig) -> bool:
    """Whether the file, and what may be set beside it, leads from one config to the other."""
    if format_name in ("", PLAN):
        return True
    mapping = table(format_name)
    left, right = all_values(here), all_values(there)
    if there.evaluates and here.loss is not Loss.LIGER is there.loss:
        return False  # the tools' evaluations let Liger make whole logits: docs/decisions/0026
    unsaid = differences(there, keys_of(there, mapping)[1])
    return not any(left[name] != right[name] for name in unsaid if name not in mapping.beside)


def _read_only_key(mapping: Table, field: str) -> str:
    """The key of a field that `advisor export` leaves out; empty for other fields."""
    rules = mapping.fields.get(field, ())
    return next((rule.key for rule in rules if rule.key and not rule.export), "")


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | list | dict) else str(value)
