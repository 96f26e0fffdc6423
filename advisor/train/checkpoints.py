"""Checkpoints that are whole or not there: written beside, listed in a manifest, renamed. No torch here.

`checkpoints/` in a run's folder holds `run-key.json`, which says of what run they are, `checkpoint-N` after
step N, `best-N` with the weights of the best evaluation, and `.saving` while one is written.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError
from advisor.files import replace_text, sync
from advisor.records import TrainConfig, config_from_json

SCHEMA = 1  # 1: first
MANIFEST = "manifest.json"
_FOLDER = "checkpoints"
_SAVING = ".saving"
_KEY_FILE = "run-key.json"
# The trainer pickles its arguments; nobody reads them, and they could hold what is nobody's business.
_UNWANTED = ("training_args.bin",)
_LARGEST_MANIFEST_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run had done when a checkpoint was written, beside the weights."""

    planned: TrainConfig  # of the plan
    config: TrainConfig  # in use, which a fallback may have changed
    losses: tuple[float, ...] = ()  # one a step
    evaluations: tuple[tuple[int, float], ...] = ()  # step, held-out loss
    changes: tuple[dict[str, Any], ...] = ()  # `Change.to_json`
    evaluation_before: float | None = None
    step_seconds: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "planned": self.planned.to_json(),
            "config": self.config.to_json(),
            "losses": list(self.losses),
            "evaluations": [list(pair) for pair in self.evaluations],
            "changes": list(self.changes),
            "evaluation_before": self.evaluation_before,
            "step_seconds": list(self.step_seconds),
        }


def folder_of(output: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return output / _FOLDER


def saving_folder(output: Path) -> Path:
    """Where the trainer writes one that is not whole yet."""
    return folder_of(output) / _SAVING


def seal(output: Path, step: int, progress: Progress, *, keep: int) -> Path:
    """Make what the trainer has written after `step` a checkpoint; of all, the newest `keep` stay.

    Its files are on the disk before the manifest is, and the manifest before it takes its name.
    """
    written = saving_folder(output) / f"checkpoint-{step}"
    for name in _UNWANTED:
        (written / name).unlink(missing_ok=True)
    write_manifest(written, {"step": step, "progress": progress.to_json()})
    target = folder_of(output) / written.name
    if target.exists():
        shutil.rmtree(target)
    written.rename(target)
    sync(target.parent)
    for old in sorted(_all(output), key=step_of)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def write_manifest(folder: Path, more: dict[str, Any]) -> None:
    """List every file of the folder with its size and SHA-256, all flushed to the disk."""
    listed = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        sync(path)
        listed[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    document = {"schema": SCHEMA, "kind": "checkpoint", "files": listed} | more
    replace_text(folder / MANIFEST, json.dumps(document, indent=1) + "\n")
    sync(folder)


def torn(folder: Path, *, thorough: bool = True) -> str | None:
    """Why the checkpoint is not whole; None where it is. Without `thorough` the hashes are not read."""
    try:
        files = _manifest(folder)["files"].items()
        for name, said in files:
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                return f"{name} lies elsewhere"
            size = path.stat().st_size
            if size != said["bytes"]:
                return f"{name} has {size:,} of {said['bytes']:,} bytes"
            if thorough and _sha256(path) != said["sha256"]:
                return f"{name} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its manifest can't be read: {error}"
    return None


def last_checkpoint(output: Path) -> Path | None:
    """The newest checkpoint whose files have their sizes, or None; quick, so not yet to be trusted."""
    return next((path for path in _newest(output) if torn(path, thorough=False) is None), None)


def whole_checkpoint(output: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The newest checkpoint that is whole to the bit, or None; and a note on each newer one that is not."""
    notes: list[str] = []
    for path in _newest(output):
        why = torn(path)
        if why is None:
            return path, tuple(notes)
        notes.append(f"{path.name} is torn and is skipped: {why}")
    return None, tuple(notes)


def read_progress(checkpoint: Path) -> Progress:
    """What the run had done at the checkpoint.

    Raises: AdvisorError where its manifest does not say so.
    """
    try:
        said = _manifest(checkpoint)["progress"]
        return Progress(
            planned=config_from_json(said["planned"]),
            config=config_from_json(said["config"]),
            losses=tuple(float(loss) for loss in said["losses"]),
            evaluations=tuple((int(step), float(loss)) for step, loss in said["evaluations"]),
            changes=tuple(dict(change) for change in said["changes"]),
            evaluation_before=said["evaluation_before"],
            step_seconds=tuple(float(seconds) for seconds in said["step_seconds"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdvisorError(
            f"{checkpoint} does not say what was done.", why=str(error), fix="start anew with --force"
        ) from error


def step_of(checkpoint: Path | None) -> int:
    """The optimizer step after which a checkpoint was written; 0 for none."""
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


def remember_run(output: Path, key: dict[str, Any]) -> None:
    """Write beside the checkpoints what they are checkpoints of."""
    replace_text(folder_of(output) / _KEY_FILE, json.dumps(key, indent=2) + "\n")


def is_begun(output: Path) -> bool:
    """Whether a run began here, and may go on."""
    return (folder_of(output) / _KEY_FILE).exists()


def check_same_run(output: Path, key: dict[str, Any]) -> None:
    """See that the checkpoints are of this very run.

    Raises: AdvisorError where the plan, the data, the seed or the length is another.
    """
    try:
        stored = json.loads((folder_of(output) / _KEY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    other = [name for name in key if not isinstance(stored, dict) or stored.get(name) != key[name]]
    if other:
        raise AdvisorError(
            f"The checkpoints in {output} are of another run.",
            why=f"it had another {', '.join(name.replace('_', ' ') for name in other)}",
            fix="resume with the plan, the data and the options that it began with, or start anew with --force",
        )


def drop_torn(output: Path) -> None:
    """Remove what an interrupt cut short, and the whole folder where nothing in it is whole."""
    if not folder_of(output).exists():
        return
    shutil.rmtree(saving_folder(output), ignore_errors=True)
    for path in _all(output):
        if torn(path, thorough=False) is not None:
            shutil.rmtree(path, ignore_errors=True)
    if last_checkpoint(output) is None:
        drop_all(output)


def drop_all(output: Path) -> None:
    """Remove the checkpoints: the run is over, or begins anew."""
    shutil.rmtree(folder_of(output), ignore_errors=True)


def best_folder(output: Path, step: int) -> Path:
    """Where the weights of the best evaluation so far lie."""
    return folder_of(output) / f"best-{step}"


def drop_bests(output: Path, kept_steps: Iterable[int]) -> None:
    """Remove the best weights of every step but these."""
    names = {f"best-{step}" for step in kept_steps}
    for path in folder_of(output).glob("best-*"):
        if path.name not in names:
            shutil.rmtree(path, ignore_errors=True)


def bests_needed(output: Path) -> Iterator[int]:
    """The best step that each checkpoint knows of: going on from it may end with these weights."""
    for path in _all(output):
        if torn(path, thorough=False) is None and (evaluations := read_progress(path).evaluations):
            yield min(evaluations, key=lambda pair: pair[1])[0]


def _all(output: Path) -> list[Path]:
    found = folder_of(output).glob("checkpoint-*")
    return [path for path in found if path.name.rpartition("-")[2].isdecimal()]


def _newest(output: Path) -> list[Path]:
    return sorted(_all(output), key=step_of, reverse=True)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if path.stat().st_size > _LARGEST_MANIFEST_BYTES:
        raise ValueError("it is larger than 64 MiB")
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or not document.get("files"):
        raise ValueError(f"it is none of schema {SCHEMA}")
    return document


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
