"""What each key of a row may hold: a test, and the words for it."""

import re
from collections.abc import Callable
from datetime import datetime
from math import isfinite
from typing import Any

from advisor.profiles.personal import LONGEST_TEXT
from advisor.profiles.record import Outcome
from advisor.profiles.row import ROW_KEYS, SCHEMA

Test = Callable[[Any], bool]
Keys = dict[str, tuple[Test, str]]

_MOST_BYTES = 1 << 50  # of any memory
_MOST_STEPS = 10_000
_MOST_SECONDS = 1e7
_MOST_WATTS = 1e5
_MOST_JOULES = 1e12
_PROVENANCES = ("collected", "contributed")
_ID = re.compile(r"[0-9a-f]{16}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,40}")


def is_word(value: Any) -> bool:
    """A name of a phase, a package or a fact."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def is_text(value: Any) -> bool:
    """Short, and nothing in it that moves a terminal's cursor."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def is_integer(value: Any, least: int = 0, most: int = _MOST_BYTES - 1) -> bool:
    """A whole number in the range; JSON's true is none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_id(value: Any) -> bool:
    """The name of a row."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_number(value: Any, most: float) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and 0 <= value <= most and isfinite(value)


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        return datetime.fromisoformat(value).year >= 2000
    except ValueError:
        return False


def _are_phases(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= 64 and all(map(is_word, value))


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 32 and all(map(is_word, value))


def _are_seconds(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > _MOST_STEPS:
        return False
    return all(_is_number(seconds, _MOST_SECONDS) and seconds > 0 for seconds in value)


def _or_null(test: Test) -> Test:
    return lambda value: value is None or test(value)


_INTEGER = (is_integer, f"a whole number from 0 to below {_MOST_BYTES}")
_INTEGER_OR_NULL = (_or_null(is_integer), f"null, or a whole number from 0 to below {_MOST_BYTES}")
_TEXT = (is_text, f"printable text of up to {LONGEST_TEXT} characters")
_WATTS = (lambda value: _is_number(value, _MOST_WATTS), f"a number from 0 to {_MOST_WATTS:g}")
_SECONDS = (lambda value: _is_number(value, _MOST_SECONDS), f"a number from 0 to {_MOST_SECONDS:g}")
_JOULES = (lambda value: _is_number(value, _MOST_JOULES), f"a number from 0 to {_MOST_JOULES:g}")
_OBJECT = (lambda value: isinstance(value, dict), "an object")
_OBJECT_OR_NULL = (lambda value: value is None or isinstance(value, dict), "an object or null")
_NAMED: Keys = {
    "schema": (lambda value: is_integer(value) and value == SCHEMA, str(SCHEMA)),
    "id": (is_id, "16 hex digits"),
    "config": _OBJECT,
    "outcome": (lambda value: value in tuple(Outcome), "one of " + ", ".join(Outcome)),
    "reason": _TEXT,
    "benchmark_version": (lambda value: is_integer(value, 0, 1000), "a whole number up to 1000"),
    "measured_at": (_is_time, "a time such as 2026-11-24T21:35:00Z"),
    "provenance": (lambda value: value in _PROVENANCES, " or ".join(_PROVENANCES)),
    "cap_bytes": (_or_null(lambda value: is_integer(value, 1)), "null, or a whole number of bytes"),
    "shared": (lambda value: isinstance(value, bool), "true or false"),
    "allocator_settings": (_or_null(is_text), f"null, or {_TEXT[1]}"),
    "phases": (_are_phases, "an object of up to 64 phases"),
    "warmup_steps": (lambda value: is_integer(value, 0, _MOST_STEPS), f"a whole number up to {_MOST_STEPS}"),
    "step_seconds": (_are_seconds, f"up to {_MOST_STEPS} numbers above 0 and up to {_MOST_SECONDS:g}"),
    "clocks": _OBJECT_OR_NULL,
    "power": _OBJECT_OR_NULL,
    "smallest_cap": _OBJECT_OR_NULL,
    "host_pace_seconds": (_or_null(_SECONDS[0]), f"null, or {_SECONDS[1]}"),
    "kernels": (_or_null(_are_phases), "null, or an object of up to 64 groups of kernels"),
}
ROW: Keys = {key: _NAMED.get(key, _INTEGER_OR_NULL) for key in ROW_KEYS}
PEAKS: Keys = {
    "peak_allocated_bytes": _INTEGER,
    "peak_reserved_bytes": _INTEGER,
    "peak_device_bytes": _INTEGER_OR_NULL,
}
CLOCKS: Keys = {
    "sm_mhz_min": _INTEGER,
    "sm_mhz_max": _INTEGER,
    "throttle_reasons": (_are_words, "a list of NVML's names"),
}
POWER: Keys = {"watts_mean": _WATTS, "watts_max": _WATTS, "energy_joules": _JOULES}
CAP: Keys = dict.fromkeys(("without_retries_bytes", "with_retries_bytes", "resolution_bytes"), _INTEGER)
KERNEL: Keys = {"count": _INTEGER, "seconds": _SECONDS}
WITHDRAWAL: Keys = {
    **{key: _NAMED[key] for key in ("schema", "id", "reason", "measured_at")},
    "withdraws": _NAMED["id"],
}
