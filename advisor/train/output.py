"""The folder of a run: nothing in it is replaced unasked, and nobody meets half of anything."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from advisor.errors import AdvisorError, ExitCode
from advisor.train import checkpoints
from advisor.units import gib

RUN_FILE = "run.json"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"
_RESULTS = (RUN_FILE, ADAPTER_FOLDER, MODEL_FOLDER)


def refuse_overwrite(output: Path, *, force: bool, resume: bool) -> None:
    """Look whether another run's results are in the folder; change nothing.

    A run that began and did not end is no result: it goes on.
    Raises: AdvisorError where there are some and neither `force` nor `resume` is given, or nothing to resume is.
    """
    if output.exists() and not output.is_dir():
        raise AdvisorError(f"{output} is a file.", fix="give --output a folder")
    if resume and checkpoints.last_checkpoint(output) is None:
        raise AdvisorError(
            f"There is no checkpoint in {output} to go on from.",
            why="checkpoints are written each few minutes, or as --save-steps says; a run that ended keeps none",
            fix="start again without --resume",
        )
    found = [name for name in _RESULTS if (output / name).exists()]
    unfinished = checkpoints.is_begun(output) and RUN_FILE not in found
    if found and not (force or resume or unfinished):
        raise AdvisorError(
            f"{output} holds an earlier run.",
            why=f"there is {', '.join(found)}",
            fix="give another --output, or --force to replace it",
        )


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Make the folder where it is not there, and hold it: two runs that write into one would spoil both.

    A killed run lets go of it. A folder that was made here, and into which nothing came, goes again.
    Raises: AdvisorError where another process holds it, or it can't be made.
    """
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise AdvisorError(
            f"Can't make the folder {output}.",
            why=error.strerror or str(error),
            fix="choose another --output",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error
    try:
        _hold(output, descriptor)
        yield
    finally:
        os.close(descriptor)
        if made:
            with suppress(OSError):  # it is not empty
                output.rmdir()


def _hold(output: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AdvisorError(
            f"Another run is writing into {output}.",
            fix="wait for it, or give another --output",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error


def clear(output: Path, *, force: bool) -> None:
    """Remove what a killed run had not finished writing; with `force` also its checkpoints.

    Results that `force` replaces go later, when there are new ones.
    """
    if force:
        checkpoints.drop_all(output)
    for name in _RESULTS:
        for path in output.glob(f".{name}.*.partial"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


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
