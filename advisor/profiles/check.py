"""What a row and an environment must be before they are kept: every key, its type and its range."""

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from advisor.catalog.names import shown
from advisor.errors import AdvisorError
from advisor.profiles import keys
from advisor.profiles.personal import personal_in
from advisor.profiles.record import Outcome
from advisor.records import TrainConfig, config_from_json

_LARGEST_FACTS = 1 << 14  # characters


def check_row(row: Any) -> None:
    """Whether it is a row of this schema, with sane figures and nothing personal.

    Raises: ValueError naming the key, its value and what is expected.
    """
    _check_keys(row, keys.ROW, "")
    _check_config(row["config"])
    for name, peaks in row["phases"].items():
        _check_keys(peaks, keys.PEAKS, f"phases.{name}")
        _check_order(peaks, "peak_allocated_bytes", "peak_reserved_bytes", f"phases.{name}.")
    for name, spent in (row["kernels"] or {}).items():
        _check_keys(spent, keys.KERNEL, f"kernels.{name}")
    for key, known in (("clocks", keys.CLOCKS), ("power", keys.POWER), ("smallest_cap", keys.CAP)):
        if row[key] is not None:
            _check_keys(row[key], known, key)
    _check_order(row, "peak_allocated_bytes", "peak_reserved_bytes", "")
    _check_order(row["clocks"], "sm_mhz_min", "sm_mhz_max", "clocks.")
    _check_order(row["smallest_cap"], "with_retries_bytes", "without_retries_bytes", "smallest_cap.")
    if row["outcome"] == Outcome.OK and row["reason"]:
        raise ValueError(f"reason = {shown(row['reason'])}, expected none where the outcome is ok")
    check_not_personal(row)


def check_withdrawal(row: Any) -> None:
    """Whether it is a line that withdraws a row, with a reason.

    Raises: ValueError as above.
    """
    _check_keys(row, keys.WITHDRAWAL, "")
    if not row["reason"].strip():
        raise ValueError("reason is empty, expected why the row does not hold")
    check_not_personal(row)


def check_facts(facts: Any) -> None:
    """Whether they are an environment's facts: a card, packages with torch, and other plain values.

    Raises: ValueError as above.
    """
    if not isinstance(facts, dict) or not isinstance(facts.get("card"), str):
        raise ValueError("card is missing from the environment")  # noqa: TRY004 - as the others
    packages = facts.get("packages")
    if not isinstance(packages, dict) or not all(isinstance(v, str) for v in packages.values()):
        raise ValueError("packages: expected a version for each name")
    if "torch" not in packages:
        raise ValueError("packages.torch is missing")
    if len(json.dumps(facts)) > _LARGEST_FACTS:
        raise ValueError(f"the environment is larger than {_LARGEST_FACTS} characters")
    for key, value in _leaves(facts, ""):
        if not (value is None or isinstance(value, bool) or keys.is_text(value) or keys.is_integer(value)):
            raise ValueError(
                f"{key} = {shown(value)}, expected short text, a whole number, true, false or null"
            )
    check_not_personal(facts)


def check_not_personal(value: Any) -> None:
    """Whether no text in it looks like a path, a user, a host or an address.

    Raises: ValueError naming the key.
    """
    for key, kind, found in personal_in(value):
        raise ValueError(f"{key}: {shown(found)} looks like a {kind}; rows are to be shared")


def _check_keys(value: Any, known: keys.Keys, of: str) -> None:
    """Exactly those keys, each as its test wants it."""
    where = f"{of}." if of else ""
    if not isinstance(value, dict):
        raise ValueError(f"{of or 'the line'} = {shown(value)}, expected an object")  # noqa: TRY004 - as the others
    if unknown := sorted(value.keys() - known.keys()):
        raise ValueError(f"{of or 'the row'} has a key {shown(unknown[0])}, which this schema does not know")
    for key, (test, expected) in known.items():
        if key not in value:
            raise ValueError(f"{where}{key} is missing")
        if not test(value[key]):
            raise ValueError(f"{where}{key} = {shown(value[key])}, expected {expected}")


def _check_config(config: dict[str, Any]) -> None:
    try:
        config_from_json(config)
    except AdvisorError as error:
        raise ValueError(f"config: {error.what} {error.why}") from error
    if unknown := sorted(config.keys() - {f.name for f in fields(TrainConfig)}):
        raise ValueError(f"config has a key {shown(unknown[0])}, which this version does not know")
    for key, text in _leaves(config, "config"):
        if isinstance(text, str) and not keys.is_text(text):
            raise ValueError(f"{key} = {shown(text)}, expected short, printable text")


def _check_order(record: dict[str, Any] | None, less: str, more: str, where: str) -> None:
    low, high = (record or {}).get(less), (record or {}).get(more)
    if low is not None and high is not None and low > high:
        raise ValueError(f"{where}{less} = {low} is more than {where}{more} = {high}")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every plain value in nested ones, by its key.

    Raises: ValueError for a key that is no word.
    """
    if isinstance(value, dict):
        for name, part in value.items():
            if not keys.is_word(name):
                raise ValueError(f"{key or 'the environment'} has a key {shown(name)}, which is no word")
            yield from _leaves(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, key)
    else:
        yield key, value
