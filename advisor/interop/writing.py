"""From a plan to another tool's config: the mapping read backwards, and proved by reading the result again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from advisor.errors import AdvisorError
from advisor.interop.codecs import encoded
from advisor.interop.reading import config_of
from advisor.interop.table import UNSET, Rule, Table
from advisor.interop.values import Values, nested, same
from advisor.records import Method, TrainConfig, all_values

_MOST_TRIALS = 500  # of ways to write a config; the mappings have fewer than fifty
_OTHERWISE = "export to python, or plan with another method or precision"
_VITAL = ("method", "precision")  # another of these is another plan
_VITAL_WEIGHT = 100
# On what it evaluates, and when: the tool's own defaults stay.
_NOT_IN_A_PLAN = ("evaluates", "evaluation_batch")
_LORA_ONLY = (
    "lora_variant",
    "lora_rank",
    "lora_targets",
    "lora_dropout",
    "adapter_dtype",
    "cast_adapter_inputs",
    "fused_adapters",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A field that the tool's file can't express."""

    field: str
    wanted: Any
    instead: Any  # what the file will give
    where: str  # where else it is set, or empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A config in a tool's keys."""

    document: dict[str, Any]
    missing: tuple[Missing, ...]
    config: TrainConfig  # what the file means, read again
    notes: tuple[str, ...] = ()


def keys_of(
    config: TrainConfig, mapping: Table, facts: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], TrainConfig]:
    """The flat keys that say as much of the config as the tool's file can, and the config that they mean."""
    return _best(config, mapping, facts or {})


def exported(
    config: TrainConfig, mapping: Table, model: str, facts: Mapping[str, Any], fill: Mapping[str, Any]
) -> Exported:
    """The document for the tool; `fill` gives the {names} in the mapping's written values.

    Raises: AdvisorError where the tool can't train by this method, or not with this base, at all.
    """
    whole, read_again = _best(config, mapping, facts)
    missing = tuple(_missing(config, read_again, mapping))
    vital = next((m for m in missing if m.field in _VITAL), None)
    if vital is not None:
        raise AdvisorError(
            f"{mapping.title} can't be told {vital.field} {vital.wanted} for this plan.",
            why=f"its file would give {vital.instead}",
            fix=_OTHERWISE,
        )
    values = Values(whole, mapping.defaults, facts)
    refused = next((note for note in mapping.notes if note.refuse and values.holds(note.when)), None)
    if refused is not None:
        raise AdvisorError(
            f"{mapping.title} can't run this plan as it is meant.", why=refused.text, fix=_OTHERWISE
        )
    written = {mapping.model[0]: model} | whole
    written |= {key: value for key, value in mapping.written.items() if key not in written}
    return Exported(
        document=nested({key: _filled(value, fill) for key, value in written.items()}),
        missing=missing,
        config=read_again,
        notes=tuple(note.text for note in mapping.notes if values.holds(note.when)),
    )


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Fields that differ and that the method reads."""
    left, right = all_values(one), all_values(other)
    unread = (*_NOT_IN_A_PLAN, *(() if one.method is Method.LORA else _LORA_ONLY))
    if one.method is not Method.LAST_LAYERS:
        unread = (*unread, "trainable_layers")
    return [name for name in left if left[name] != right[name] and name not in unread]


def _best(
    config: TrainConfig, mapping: Table, facts: Mapping[str, Any]
) -> tuple[dict[str, Any], TrainConfig]:
    """The keys that read back as the config with the fewest differences."""
    found: list[tuple[int, dict[str, Any], TrainConfig]] = []
    for keys in islice(_ways(list(mapping.fields.items()), all_values(config), {}), _MOST_TRIALS):
        given = _with_also({key: value for key, value in keys.items() if value != UNSET}, mapping, facts)
        try:
            again, _ = config_of(Values(given, mapping.defaults, facts), mapping, mapping.title)
        except AdvisorError:
            continue  # such keys can't stand together
        unlike = sum(_VITAL_WEIGHT if name in _VITAL else 1 for name in differences(config, again))
        found.append((unlike, given, again))
        if not unlike:
            break
    if not found:
        raise AdvisorError(f"{mapping.title} can't be told this plan.", fix="export to python")
    _, keys, again = min(found, key=lambda item: item[0])
    return keys, again


def _with_also(keys: dict[str, Any], mapping: Table, facts: Mapping[str, Any]) -> dict[str, Any]:
    values = Values(keys, mapping.defaults, facts)
    more: dict[str, Any] = {}
    for also in mapping.also:
        if values.holds(also.when):
            more = dict(also.write) | more  # the first that writes a key decides
    return more | keys


def _ways(
    fields: list[tuple[str, tuple[Rule, ...]]], wanted: Mapping[str, Any], keys: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every consistent choice of one rule a field; a field that no rule can give is left out."""
    if not fields:
        yield keys
        return
    (name, rules), rest = fields[0], fields[1:]
    some = False
    for rule in rules:
        more = _backwards(rule, wanted.get(name), keys)
        if more is not None:
            some = True
            yield from _ways(rest, wanted, keys | more)
    if not some:
        yield from _ways(rest, wanted, keys)


def _backwards(rule: Rule, value: Any, keys: Mapping[str, Any]) -> dict[str, Any] | None:
    """The keys, beside those chosen, under which the rule gives the value; None where it never does."""
    if not rule.export or not (rule.key or same(rule.value, value)):
        return None
    more = {key: keys.get(key, allowed[0]) for key, allowed in rule.when.items()}
    if any(not any(same(more[key], one) for one in allowed) for key, allowed in rule.when.items()):
        return None
    if rule.key:
        more[rule.key] = encoded(rule.codec, value)
    return more if all(same(keys.get(key, chosen), chosen) for key, chosen in more.items()) else None


def _missing(wanted: TrainConfig, given: TrainConfig, mapping: Table) -> Iterator[Missing]:
    left, right = all_values(wanted), all_values(given)
    for field in differences(wanted, given):
        where = mapping.elsewhere.get(field, "")
        yield Missing(field=field, wanted=left[field], instead=right[field], where=where)


def _filled(value: Any, fill: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, fill) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, fill) for part in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return fill[value[1:-1]]
    return value
