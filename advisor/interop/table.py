"""The mappings of `formats/*.toml` as records: which keys of a tool decide which field of a TrainConfig."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.errors import unknown_name

UNSET = "unset"  # in a condition: the key is not in the file and has no default
FORMATS = ("trl", "axolotl", "llama-factory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way in which keys decide a field: where all of `when` hold, the field is `value`, or that of `key`."""

    when: Mapping[str, tuple[Any, ...]]  # key -> the values that it may have
    value: Any = None
    key: str = ""
    codec: str = ""  # of `codecs.py`
    assume: str = ""  # what is assumed where the rule fires
    export: bool = True  # may be read backwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """A key that matters and is not modelled."""

    key: str
    text: str
    harmless: tuple[Any, ...] = ()  # values that mean as much as no such key
    refuse: bool = False
    default: bool = False  # its default may do harm as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A combination of keys that is worth a word, or can't be answered for."""

    when: Mapping[str, tuple[Any, ...]]
    text: str
    refuse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Also:
    """Keys to write beside those that the rules give, where the condition holds."""

    when: Mapping[str, tuple[Any, ...]]
    write: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One tool's mapping."""

    format: str
    title: str
    run: str  # the command that takes the file
    version: str
    source: str
    date: str
    model: tuple[str, ...]  # keys that name the model, the first that is there
    telling: tuple[str, ...]  # keys that only this tool has
    defaults: Mapping[str, Any]
    fields: Mapping[str, tuple[Rule, ...]]
    ignored: tuple[str, ...]  # shell patterns
    caveats: tuple[Caveat, ...]
    notes: tuple[Note, ...]
    written: Mapping[str, Any]
    also: tuple[Also, ...]
    elsewhere: Mapping[str, str]  # field -> where it is set, if not in the file
    beside: tuple[str, ...]  # of these fields, those that may be set there
    accepted: frozenset[str]  # every key of this version

    @property
    def decisive(self) -> frozenset[str]:
        """Keys that some rule, note or model name reads."""
        rules = [rule for several in self.fields.values() for rule in several]
        conditions = [*(rule.when for rule in rules), *(note.when for note in self.notes)]
        return frozenset(
            (*self.model, *(r.key for r in rules if r.key), *(k for when in conditions for k in when))
        )


@cache
def table(name: str) -> Table:
    """The mapping of a format.

    Raises: AdvisorError with the nearest names where there is none.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS, fix="give one of these, or leave --format out")
    own = _toml("formats", name)
    shared = [_toml("formats", other) for other in own["include"]]
    accepted = _toml("accepted", name)
    caveats = {c["key"]: Caveat(**_tuples(c)) for doc in (*shared, own) for c in doc.get("caveats", ())}
    return Table(
        **{k: own[k] for k in ("format", "title", "run", "version", "source", "date")},
        model=tuple(own["model"]),
        telling=tuple(own["telling"]),
        defaults=own["defaults"],
        fields={field: tuple(map(_rule, rules)) for field, rules in own["fields"].items()},
        ignored=(*own["ignored"]["keys"], *(key for doc in shared for key in doc["ignored"])),
        caveats=tuple(caveats.values()),
        notes=tuple(Note(**_conditional(note)) for note in own.get("notes", ())),
        written=own.get("written", {}),
        also=tuple(Also(**_conditional(also)) for also in own.get("also", ())),
        elsewhere=own.get("elsewhere", {}),
        beside=tuple(own.get("beside", ())),
        accepted=frozenset(accepted["keys"]),
    )


@cache
def peft_targets() -> Mapping[str, tuple[str, ...]]:
    """Modules that PEFT adapts by model type, where none are named."""
    return {kind: tuple(names) for kind, names in _toml("formats", "peft_targets")["targets"].items()}


def _toml(folder: str, name: str) -> dict[str, Any]:
    return tomllib.loads(
        files("advisor.interop").joinpath(folder, f"{name}.toml").read_text(encoding="utf-8")
    )


def _rule(row: dict[str, Any]) -> Rule:
    return Rule(**_conditional(row))


def _conditional(row: dict[str, Any]) -> dict[str, Any]:
    when = {key: tuple(v) if isinstance(v, list) else (v,) for key, v in row.get("when", {}).items()}
    return row | {"when": when}


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if key == "harmless" else value for key, value in row.items()}
