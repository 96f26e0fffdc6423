"""Adding lines to a file that others append to, too: whole lines or none, and never a line less."""

import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from advisor.errors import AdvisorError, ExitCode
from advisor.files import sync

_log = logging.getLogger(__name__)


def append_lines(path: Path, new_lines: Callable[[bytes], bytes]) -> None:
    """Append what `new_lines` makes of the file's content; nobody else appends meanwhile.

    A last line that a killed writer left unfinished is cut off first, and said so.
    Raises: AdvisorError where the disk is full or the place can't be written; the file is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as stream:
            content = stream.readall()
            whole = whole_lines(content)
            if added := new_lines(whole):
                if len(whole) < len(content):
                    _cut(path, stream, len(content) - len(whole), len(whole))
                ended = not whole or whole.endswith(b"\n")
                _write(stream, added if ended else b"\n" + added, len(whole))
                if not content:
                    sync(path.parent)
    except OSError as error:
        raise _cannot(path, error) from error


def whole_lines(content: bytes) -> bytes:
    """The content without an unfinished last line: one that has no end and is no JSON object."""
    start = content.rfind(b"\n") + 1
    try:
        finished = start == len(content) or isinstance(json.loads(content[start:]), dict)
    except (ValueError, RecursionError):
        finished = False
    return content if finished else content[:start]


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """The file, opened and locked; opened anew where it was replaced while we waited, as git does."""
    while True:
        with path.open("ab+", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if _is_still(path, stream):
                stream.seek(0)
                yield stream
                return


def _is_still(path: Path, stream: FileIO) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _cut(path: Path, stream: FileIO, unfinished_bytes: int, length: int) -> None:
    stream.truncate(length)
    _log.warning("%s: a writer was killed in its last line; %s bytes of it cut off", path, unfinished_bytes)


def _write(stream: FileIO, added: bytes, length: int) -> None:
    """All of it on the disk, or the file back to its length."""
    left = memoryview(added)
    try:
        while left:
            left = left[os.write(stream.fileno(), left) :]
        os.fsync(stream.fileno())
    except BaseException:
        with suppress(OSError):  # then the line stays unfinished, which readers and writers can take
            stream.truncate(length)
        raise


def _cannot(path: Path, error: OSError) -> AdvisorError:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return AdvisorError(
        f"Can't add to {path}.",
        why=error.strerror or str(error),
        fix="free some space; no earlier row was lost"
        if full
        else "name a folder of yours in ADVISOR_PROFILES",
        exit_code=ExitCode.ENVIRONMENT,
    )
