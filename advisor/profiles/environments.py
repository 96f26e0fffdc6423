"""What ran, as facts in a file that is written once: `environment.json`, in a folder named after its content."""

import hashlib
import json
from pathlib import Path
from typing import Any

from advisor.catalog.gpus import find_gpu
from advisor.catalog.names import shown
from advisor.errors import AdvisorError, ExitCode
from advisor.files import replace_text
from advisor.profiles.check import check_facts
from advisor.profiles.folders import check_place, known_folders

FILE_NAME = "environment.json"


def environment_name(facts: dict[str, Any]) -> str:
    """The folder's name: torch's version, and six digits of the SHA-256 of the facts."""
    canonical = json.dumps(facts, sort_keys=True)
    return f"torch{facts['packages']['torch']}-{hashlib.sha256(canonical.encode()).hexdigest()[:6]}"


def environment_folder(folder: Path, card: str, facts: dict[str, Any]) -> str:
    """The name of the card's folder for these facts, which is there now, with the facts in it.

    Raises: AdvisorError where the facts may not be kept, or the folder holds other facts.
    """
    plain = json.loads(json.dumps(facts))
    try:
        check_environment(card, plain)
    except ValueError as error:
        raise AdvisorError(
            "This environment can't be kept.", why=str(error), fix="leave the value out of the facts"
        ) from error
    name = environment_name(plain)
    path = folder / card / name / FILE_NAME
    if path.exists():
        same_environment(folder, card, name, plain)
    else:
        replace_text(path, json.dumps(plain, indent=2) + "\n")
    return name


def check_environment(card: str, facts: Any) -> None:
    """Whether the facts may be kept for the catalog's card.

    Raises: ValueError naming what is wrong.
    """
    check_facts(facts)
    check_place((card, environment_name(facts), "any"))
    name = find_gpu(card)[0].name
    if facts["card"] != name:
        raise ValueError(f"card = {shown(facts['card'])}, but {card} reports itself as {name!r}")


def same_environment(folder: Path, card: str, name: str, facts: dict[str, Any]) -> None:
    """Whether the facts kept under the name, if any, are these.

    Raises: AdvisorError where they are others.
    """
    if (folder / card / name / FILE_NAME).exists() and read_environment(folder, card, name) != facts:
        raise _unreadable(folder / card / name / FILE_NAME, "it holds other facts of the same fingerprint")


def read_environment(folder: Path, card: str, name: str) -> dict[str, Any]:
    """The facts of an environment.

    Raises: AdvisorError where they are missing, unreadable, or not those that the folder is named after.
    """
    path = folder / card / name / FILE_NAME
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expected = environment_name(facts)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    if expected != name:
        raise _unreadable(path, f"its content belongs to a folder {expected}: it was changed")
    return facts


def known_environment(card: str, name: str) -> dict[str, Any]:
    """The facts of an environment, the user's own or a shipped one.

    Raises: AdvisorError as `read_environment`.
    """
    folders = known_folders()
    having = [folder for folder in folders if (folder / card / name / FILE_NAME).exists()]
    return read_environment((*having, *folders)[0], card, name)


def _unreadable(path: Path, why: str) -> AdvisorError:
    return AdvisorError(
        f"The environment {path} can't be used.",
        why=why,
        fix="take the file as it was from where the rows come from; it is never changed",
        exit_code=ExitCode.ENVIRONMENT,
    )
