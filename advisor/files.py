"""Writing so that nothing a user made is lost, and nobody meets half a file."""

import os
from contextlib import suppress
from pathlib import Path

from advisor.errors import AdvisorError, ExitCode


def write_new(path: Path, text: str, *, force: bool = False) -> None:
    """Write a file that is not there yet.

    Raises: AdvisorError where it exists and `force` is not given, or where it can't be written.
    """
    check_new(path, force=force)
    replace_text(path, text)


def check_new(path: Path, *, force: bool = False) -> None:
    """See that `write_new` will not refuse, before the work is done.

    Raises: AdvisorError where the file exists and `force` is not given.
    """
    if path.exists() and not force:
        raise AdvisorError(f"{path} exists.", fix="give another name, or --force to replace it")


def replace_text(path: Path, text: str) -> None:
    """Write the text beside the file, flush it to the disk, and rename it over the file.

    Raises: AdvisorError where the disk is full or the place can't be written; the old file stays.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write the bytes beside the file, flush them to the disk, and rename them over the file.

    Raises: AdvisorError where the disk is full or the place can't be written; the old file stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # where a file stands in for a folder there is nothing to remove
            partial.unlink()
        raise AdvisorError(
            f"Can't write {path}.",
            why=error.strerror or str(error),
            fix="free some space or choose another place; nothing was changed",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error


def sync(path: Path) -> None:
    """See that a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
