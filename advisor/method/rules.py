"""`rules.toml`: the questions and the rules, and which rules act on some answers."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Answers = Mapping[str, str | int]  # by the question's code, and `fits_METHOD`
FITS = "fits_"
UNKNOWN = "unknown"
_BELOW, _FROM = "_below", "_from"
_TOLD = ("code", "method", "effect", "text", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question; without `answers` a number is asked for."""

    code: str
    ask: str
    answers: Mapping[str, str]  # each with what it means
    default: str | int | None = None  # None: it must be answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule about some methods."""

    code: str
    methods: tuple[str, ...]
    effect: str  # enough, out, also or note
    text: str
    source: str
    conditions: Mapping[str, Any]

    def acts(self, answers: Answers) -> bool:
        """Whether all conditions hold."""
        return not self.unmet(answers)

    def unmet(self, answers: Answers) -> tuple[str, ...]:
        """The conditions that do not hold, for people."""
        return tuple(
            _told(name, wanted)
            for name, wanted in self.conditions.items()
            if not _holds(name, wanted, answers)
        )


@cache
def questions() -> tuple[Question, ...]:
    """The questions in the order in which they are asked."""
    rows = _document()["question"]
    return tuple(
        Question(code=row["code"], ask=row["ask"], answers=row.get("answers", {}), default=row.get("default"))
        for row in rows
    )


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the file's order."""
    return tuple(_rule(row) for row in _document()["rule"])


@cache
def methods() -> tuple[str, ...]:
    """The methods, in order of the effort that they take."""
    return tuple(_document()["methods"])


def thresholds(code: str) -> tuple[int, ...]:
    """The numbers at which some rule about a question changes its mind, smallest first."""
    names = (code + _BELOW, code + _FROM)
    return tuple(
        sorted({rule.conditions[name] for rule in rules() for name in names if name in rule.conditions})
    )


def _rule(row: dict[str, Any]) -> Rule:
    about = row["method"]
    return Rule(
        code=row["code"],
        methods=(about,) if isinstance(about, str) else tuple(about),
        effect=row["effect"],
        text=row["text"],
        source=row["source"],
        conditions={name: value for name, value in row.items() if name not in _TOLD},
    )


def _told(name: str, wanted: Any) -> str:
    if name.endswith(_BELOW):
        return f"{name.removesuffix(_BELOW)} below {wanted:,}"
    if name.endswith(_FROM):
        return f"{name.removesuffix(_FROM)} from {wanted:,} on"
    return f"{name} {' or '.join(wanted)}"


def _holds(name: str, wanted: Any, answers: Answers) -> bool:
    if name.endswith(_BELOW):
        return int(answers[name.removesuffix(_BELOW)]) < int(wanted)
    if name.endswith(_FROM):
        return int(answers[name.removesuffix(_FROM)]) >= int(wanted)
    return answers.get(name, UNKNOWN) in wanted


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files("advisor.method").joinpath("rules.toml").read_text(encoding="utf-8"))
