"""Processes that trace: they import torch once, and answer requests until they are closed."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO, Any

from advisor.errors import AdvisorError, ExitCode

_COUNT = 2  # one a core of a small machine; a trace keeps one core busy


class Tracers:
    """Up to two worker processes, started when there is first something for them to do."""

    def __init__(self) -> None:
        """None runs yet."""
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._workers: list[_Worker] = []

    def trace(self, requests: Sequence[dict[str, Any]]) -> list[AdvisorError | None]:
        """Have every request answered; what went wrong with each, in order.

        `advisor/simulate/worker.py` says what a request holds.
        """
        while len(self._workers) < min(_COUNT, len(requests)):
            worker = _Worker()
            self._workers.append(worker)
            self._idle.put(worker)
        with ThreadPoolExecutor(len(self._workers)) as pool:
            return list(pool.map(self._one, requests))

    def _one(self, request: dict[str, Any]) -> AdvisorError | None:
        worker = self._idle.get()
        try:
            error = worker.ask(request).get("error")
        except AdvisorError as died:
            worker = self._replaced(worker)
            return died
        finally:
            self._idle.put(worker)
        if not error:
            return None
        code = ExitCode(error["exit_code"])
        return AdvisorError(error["what"], why=error["why"], fix=error["fix"], exit_code=code)

    def _replaced(self, dead: "_Worker") -> "_Worker":
        fresh = _Worker()
        self._workers[self._workers.index(dead)] = fresh
        return fresh

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        self._idle = SimpleQueue()


class _Worker:
    """One process; a line in, a line out."""

    def __init__(self) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "advisor.simulate.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018 - both are pipes
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise self._died()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self) -> AdvisorError:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return AdvisorError(
            "The trace of the training step ended early.",
            why=lines[-1] if lines else f"its process ended with {self._process.returncode}",
            fix="check that the packages of constraints.txt are installed; report it if they are",
            exit_code=ExitCode.ENVIRONMENT,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
