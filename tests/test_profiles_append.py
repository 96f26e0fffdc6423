"""Appending when things go wrong: a full disk, two writers, one that is killed. No earlier row is ever lost."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys

import pytest
from profile_parts import PLACE, keep, measured, row

from advisor.errors import AdvisorError, ExitCode
from advisor.profiles import appending
from advisor.profiles.row import measurement_to_row
from advisor.profiles.store import append_row, append_rows, read_rows

WRITER = """
import os, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from profile_parts import PLACE, row
from advisor.profiles.store import append_row
whole = os.write
os.write = lambda descriptor, data: whole(descriptor, data[:17])
folder, first = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + 20):
    append_row(folder, PLACE, row(number))
"""


def writer(folder, first):
    """A process that appends twenty rows once it is told to, a few bytes at a time, so that lines could mix."""
    code = WRITER.format(tests=os.path.dirname(__file__))  # noqa: PTH120
    command = [sys.executable, "-c", code, str(folder), str(first)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_writers_at_once(tmp_path):
    """Every row of both is there, whole; those that both add are there once."""
    _, path = keep(tmp_path, 1)
    writers = [writer(tmp_path, 2), writer(tmp_path, 12)]
    for each in writers:
        assert "ready\n" == each.stdout.readline()
    for each in writers:
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [0, 0] == [each.wait(timeout=60) for each in writers]
    for each in writers:
        each.stdin.close()
        each.stdout.close()

    lines = path.read_text().splitlines()
    assert 31 == len(lines)
    assert {row(n)["id"] for n in range(1, 32)} == {json.loads(line)["id"] for line in lines}


def test_a_full_disk_loses_nothing(tmp_path):
    """The system takes half a line, then no more: the file is as it was, and the error says so."""
    _, path = keep(tmp_path, 1, 2)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 500, hard))  # Python ignores the signal
    try:
        with pytest.raises(AdvisorError, match="Can't add to") as caught:
            append_row(tmp_path, PLACE, row(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert before == path.read_bytes()
    assert "no earlier row was lost" in caught.value.fix
    assert ExitCode.ENVIRONMENT == caught.value.exit_code


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_flush_that_fails_loses_nothing(tmp_path, monkeypatch, code):
    """Some systems notice only then that there is no room."""
    _, path = keep(tmp_path, 1)
    before = path.read_bytes()

    def fails(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(appending.os, "fsync", fails)
    with pytest.raises(AdvisorError, match="Can't add to") as caught:
        append_row(tmp_path, PLACE, row(2))

    assert before == path.read_bytes()
    assert os.strerror(code) == caught.value.why


def test_writes_that_come_short_are_finished(tmp_path, monkeypatch):
    """A system may take a few bytes at a time."""
    whole = os.write
    monkeypatch.setattr(appending.os, "write", lambda descriptor, data: whole(descriptor, data[:100]))
    ids, _ = keep(tmp_path, 1, 2)

    assert ids == [each.id for each in read_rows(tmp_path)]


def test_several_rows_are_added_all_or_none(tmp_path, monkeypatch):
    """The disk fills up in the second of three."""
    _, path = keep(tmp_path, 1)
    before = path.read_bytes()
    real, taken = os.write, []

    def fills_up(descriptor, data):
        if sum(taken) > 2500:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken.append(real(descriptor, data[:500]))
        return taken[-1]

    monkeypatch.setattr(appending.os, "write", fills_up)
    with pytest.raises(AdvisorError):
        append_rows(tmp_path, PLACE, [row(2), row(3), row(4)])

    assert 2500 < sum(taken)
    assert before == path.read_bytes()


def test_ctrl_c_in_a_write_leaves_no_half_line(tmp_path, monkeypatch):
    """The row is lost, the file is whole."""
    _, path = keep(tmp_path, 1)
    before, real = path.read_bytes(), os.write

    def interrupted(descriptor, data):
        real(descriptor, data[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(appending.os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        append_row(tmp_path, PLACE, row(2))

    assert before == path.read_bytes()


@pytest.mark.parametrize("left", [1, 2, 17, 400, 1200, -2])
def test_a_killed_writers_line_is_cut_off(tmp_path, caplog, left):
    """Readers leave it out, the next writer cuts it off and says so; the rows before it stay."""
    ids, path = keep(tmp_path, 1, 2)
    before = path.read_bytes()
    path.write_bytes(before + json.dumps(row(3)).encode()[:left])

    assert ids == [each.id for each in read_rows(tmp_path)]
    more = append_row(tmp_path, PLACE, measurement_to_row(measured(4)))

    assert path.read_bytes().startswith(before)
    assert [*ids, more] == [each.id for each in read_rows(tmp_path)]
    assert "cut off" in caplog.text


def test_a_whole_row_without_an_end_is_kept(tmp_path):
    """An editor may have dropped the last newline."""
    ids, path = keep(tmp_path, 1, 2)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))

    assert ids == [each.id for each in read_rows(tmp_path)]
    ids.append(append_row(tmp_path, PLACE, measurement_to_row(measured(3))))
    assert ids == [each.id for each in read_rows(tmp_path)]


def test_a_writer_killed_while_it_holds_the_lock_stops_nobody(tmp_path):
    """The system lets go of the lock."""
    ids, path = keep(tmp_path, 1)
    code = (
        "import os, pathlib, sys; from advisor.profiles.appending import append_lines;"
        "append_lines(pathlib.Path(sys.argv[1]), lambda _: os.kill(os.getpid(), 9))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert -signal.SIGKILL == killed.returncode

    ids.append(append_row(tmp_path, PLACE, measurement_to_row(measured(2))))
    assert ids == [each.id for each in read_rows(tmp_path)]


def test_a_file_that_was_replaced_meanwhile_is_opened_anew(tmp_path, monkeypatch):
    """As git does: what is locked then is no longer the file of that name."""
    ids, path = keep(tmp_path, 1)
    real, calls = appending.fcntl.flock, []

    def replaced_meanwhile(stream, how):
        if not calls:
            path.with_name("new").write_bytes(path.read_bytes())
            path.with_name("new").rename(path)
        calls.append(how)
        real(stream, how)

    monkeypatch.setattr(appending.fcntl, "flock", replaced_meanwhile)
    ids.append(append_row(tmp_path, PLACE, measurement_to_row(measured(2))))

    assert 2 == len(calls)
    assert ids == [each.id for each in read_rows(tmp_path)]


def test_a_folder_in_the_way(tmp_path):
    """Said in three lines, not in a traceback."""
    _, path = keep(tmp_path, 1)
    path.unlink()
    path.mkdir()

    with pytest.raises(AdvisorError, match="Can't add to"):
        append_row(tmp_path, PLACE, row(2))
