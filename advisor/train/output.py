"""The folder of a run: nothing in it is replaced unasked, and nobody meets half of anything."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError, ExitCode
from advisor.files import replace_text
from advisor.units import gib

RUN_FILE = "run.json"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"
_CHECKPOINTS = "checkpoints"
_STATE_FILE = "trainer_state.json"  # the last file that the trainer writes into a checkpoint
_KEY_FILE = "run-key.json"
_KEPT = (RUN_FILE, ADAPTER_FOLDER, MODEL_FOLDER, _CHECKPOINTS)


def refuse_overwrite(output: Path, *, force: bool, resume: bool) -> None:
    """Look whether another run's results are in the folder; change nothing.

    Raises: AdvisorError where they are and neither `force` nor `resume` is given, or nothing to resume is.
    """
    if output.exists() and not output.is_dir():
        raise AdvisorError(f"{output} is a file.", fix="give --output a folder")
    found = [name for name in _KEPT if (output / name).exists()]
    if found and not force and not resume:
        raise AdvisorError(
            f"{output} holds an earlier run.",
            why=f"there is {', '.join(found)}",
            fix="give another --output, --force to replace it, or --resume to go on from its last checkpoint",
        )
    if resume and last_checkpoint(output) is None:
        raise AdvisorError(
            f"There is no checkpoint in {output} to go on from.",
            why="checkpoints are kept only where --save-steps asked for them",
            fix="start again without --resume",
        )


def make(output: Path, *, force: bool) -> None:
    """Make the folder of a run; with `force` the checkpoints of an earlier one go at once, its results later.

    Raises: AdvisorError where it can't be made.
    """
    try:
        if force:
            shutil.rmtree(checkpoint_folder(output), ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdvisorError(
            f"Can't make the folder {output}.",
            why=error.strerror or str(error),
            fix="choose another --output",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error


def checkpoint_folder(output: Path) -> Path:
    """Where the trainer keeps its checkpoints."""
    return output / _CHECKPOINTS


def last_checkpoint(output: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    whole = [path.parent for path in checkpoint_folder(output).glob(f"checkpoint-*/{_STATE_FILE}")]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path | None) -> int:
    """The optimizer step after which a checkpoint was written."""
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


def remember_run(output: Path, key: dict[str, Any]) -> None:
    """Write beside the checkpoints what they are checkpoints of."""
    replace_text(checkpoint_folder(output) / _KEY_FILE, json.dumps(key, indent=2) + "\n")


def check_same_run(output: Path, key: dict[str, Any]) -> None:
    """See that the checkpoints are of this very run.

    Raises: AdvisorError where the plan, the data, the seed or the length is another.
    """
    path = checkpoint_folder(output) / _KEY_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    other = [name for name in key if not isinstance(stored, dict) or stored.get(name) != key[name]]
    if other:
        raise AdvisorError(
            f"The checkpoints in {output} are of another run.",
            why=f"it had another {', '.join(other)}",
            fix="resume with the plan, the data and the options that it began with, or start anew with --force",
        )


def drop_torn(output: Path) -> None:
    """Remove the checkpoint that an interrupt cut short, and their folder where no whole one is in it."""
    if last_checkpoint(output) is None:
        shutil.rmtree(checkpoint_folder(output), ignore_errors=True)
    for path in checkpoint_folder(output).glob("checkpoint-*"):
        if not (path / _STATE_FILE).exists():
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the target's name once it is whole; until then the old one stays."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _flush(partial)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def drop_others(output: Path, saved: str | None) -> None:
    """Remove the weights of the run that this one replaced, where they are of the other kind."""
    for name in (ADAPTER_FOLDER, MODEL_FOLDER):
        if name != saved:
            shutil.rmtree(output / name, ignore_errors=True)


def check_space(output: Path, needed_bytes: int) -> None:
    """Refuse before the training what could not be saved after it.

    Raises: AdvisorError where the disk has less room than the weights to save take.
    """
    free = shutil.disk_usage(output).free
    if needed_bytes > free:
        raise AdvisorError(
            f"Too little room on the disk of {output}.",
            why=f"the trained weights take {gib(needed_bytes)}, {gib(free)} are free",
            fix="free some space, or choose another --output",
            exit_code=ExitCode.ENVIRONMENT,
        )


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
