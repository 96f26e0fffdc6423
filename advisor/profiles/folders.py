"""Where rows lie: `<card>/<environment>/<model>.jsonl` below the shipped folder or the user's own."""

import os
import re
from pathlib import Path

import advisor
from advisor.catalog.gpus import all_gpus
from advisor.catalog.names import shown

Place = tuple[str, str, str]  # card, environment, model: all three are names of the path
PROBE = "probe"  # in the place of a model: what `advisor.profiles.probe` reads

_ENVIRONMENT = re.compile(r"torch[0-9A-Za-z][0-9A-Za-z.+]{0,40}-[0-9a-f]{6}")
_MODEL = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")  # no separators: a name can't leave the folder


def profiles_folder() -> Path:
    """The rows that ship: `profiles` in a checkout, `advisor/_shipped` in an installed package."""
    package = Path(advisor.__file__).parent
    inside = package / "_shipped"
    return inside if inside.is_dir() else package.parent / "profiles"


def user_profiles_folder() -> Path:
    """Where new rows go: $ADVISOR_PROFILES, else a checkout's `profiles`, else the user's data folder."""
    if asked := os.environ.get("ADVISOR_PROFILES"):
        return Path(asked).expanduser()
    checkout = Path(advisor.__file__).parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "profiles").is_dir():
        return checkout / "profiles"
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    base = data if data.is_absolute() else Path.home() / ".local" / "share"
    return base / "advisor" / "profiles"


def known_folders() -> tuple[Path, ...]:
    """The user's own folder and the shipped one, once where they are the same."""
    return tuple(dict.fromkeys((user_profiles_folder().resolve(), profiles_folder().resolve())))


def place_path(folder: Path, place: Place) -> Path:
    """The file of the place."""
    card, environment, model = place
    return folder / card / environment / f"{model}.jsonl"


def places(folder: Path) -> dict[Place, Path]:
    """Every file of rows under the folder, by name; what a probe wrote is no row."""
    files = sorted(path for path in folder.glob("*/*/*.jsonl") if path.stem != PROBE)
    return {(path.parts[-3], path.parts[-2], path.stem): path for path in files}


def check_place(place: Place) -> None:
    """Whether rows may lie there.

    Raises: ValueError naming the part that is no name of a card, an environment or a model.
    """
    card, environment, model = place
    if card not in [gpu.slug for gpu in all_gpus()]:
        raise ValueError(f"card {shown(card)}: the catalog has none of that name")
    if not isinstance(environment, str) or not _ENVIRONMENT.fullmatch(environment):
        raise ValueError(f"environment {shown(environment)}: expected torch<version>-<6 hex digits>")
    if not isinstance(model, str) or not _MODEL.fullmatch(model) or model == PROBE:
        raise ValueError(f"model {shown(model)}: expected small letters, digits, dots and dashes")
