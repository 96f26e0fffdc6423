"""A process that imports everything once and forks a run for each line it reads, so that a run can be killed.

A line in: {"output", "data", "model", "request", "kill_at", "kill_after"}: a run is killed at its so-manyeth file
operation in the output folder, or after so many seconds; 0 and null never. A line out, when it has ended:
{"signal", "code", "operations", "seconds"}.
"""

import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import advisor.step  # noqa: F401 - before torch

import torch  # isort: skip
from rich.console import Console  # isort: skip
from train_parts import plan_for  # isort: skip

from advisor.train.request import RunRequest
from advisor.train.run import run_plan

_WATCHED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def serve():
    """Answer until the input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        reader, writer = os.pipe()
        began = time.monotonic()
        pid = os.fork()
        if not pid:
            os.close(reader)
            os._exit(_run(asked, writer))
        os.close(writer)
        if asked["kill_after"] is not None:
            time.sleep(asked["kill_after"])
            os.kill(pid, signal.SIGKILL)  # where it has ended it is a zombie, and takes it
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reader) as pipe:
            operations = len(pipe.read())
        answer = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "operations": operations,
            "seconds": time.monotonic() - began,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _run(asked, writer):
    torch.set_num_threads(1)
    _watch(asked["output"], asked["kill_at"], writer)
    request = RunRequest(
        data=Path(asked["data"]), output=Path(asked["output"]), model=asked["model"], **asked["request"]
    )
    screen = Console(file=io.StringIO())
    try:
        run_plan(plan_for(Path(asked["model"]), lora_dropout=0.1), request, screen)
    except BaseException as error:  # noqa: BLE001 - the test is to see it
        sys.stderr.write(f"{type(error).__name__}: {error}\n{screen.file.getvalue()}\n")
        sys.stderr.flush()
        return 1
    return 0


def _watch(output, kill_at, writer):
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if event in _WATCHED and str(arguments[0]).startswith(output):
            seen += 1
            os.write(writer, b".")
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


serve()
