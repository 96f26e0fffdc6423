"""`advisor …` within this process: what it prints and how it ends, as `python -m advisor.cli …` would.

A process of its own takes half a second to start, and seconds where it imports torch; where the process itself is what is
tested (its imports, its signals, a terminal), a test starts one.
"""

import gc
import io
import os
from contextlib import chdir, redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest import mock

from advisor.cli import main

TERMINAL = {"COLUMNS": "110", "NO_COLOR": "1"}


def advisor(*words, stdin="", folder=".", **environment):
    """Exit code, stdout and stderr; what is no error of the user's is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch("sys.argv", ["advisor", *map(str, words)]),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        mock.patch.dict(os.environ, TERMINAL | environment),
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            gc.enable()  # a plan leaves the collector off, which a process of its own forgets
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())
