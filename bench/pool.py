"""Workers: processes that measure one request each and end. Some wait, with their imports done."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Timer
from typing import IO, Any

from advisor.errors import AdvisorError, ExitCode
from bench.request import Request

_LONGEST_SECONDS = 1800  # a measurement that takes longer hangs
COMMAND = (sys.executable, "-m", "bench.worker")
_TAIL_CHARACTERS = 300


class WorkerPool:
    """Gives each request a process of its own; safe to use from several threads."""

    def __init__(
        self, command: Sequence[str] | None = None, *, standby: int = 1, threads: int | None = None
    ) -> None:
        """`standby` workers import ahead while others measure; each computes with so many `threads`."""
        self.command, self.standby = tuple(command or COMMAND), standby
        self.threads = threads
        self._waiting: deque[_Worker] = deque()
        self._busy: set[_Worker] = set()
        self._lock = Lock()
        self._closed = False

    def measure(self, request: Request) -> dict[str, Any]:
        """The worker's answer; a worker that dies gives a `failed` one that says how.

        Raises: InterruptedError where the pool was closed meanwhile.
        """
        worker = self._take()
        try:
            if worker.holds_context():
                self._stop_waiting()
            return worker.ask(request)
        finally:
            worker.end()
            with self._lock:
                self._busy.discard(worker)
            if self._closed:
                raise InterruptedError

    def close(self) -> None:
        """End every worker now, also those that measure."""
        with self._lock:
            self._closed = True
            workers = [*self._waiting, *self._busy]
            self._waiting.clear()
        for worker in workers:
            worker.end()

    def _stop_waiting(self) -> None:
        """Those that wait would take memory of the card: from now on none does."""
        with self._lock:
            self.standby = 0
            waiting = [*self._waiting]
            self._waiting.clear()
        for worker in waiting:
            worker.end()

    def _take(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise InterruptedError
            while len(self._waiting) < self.standby + 1:
                self._waiting.append(_Worker(self.command, self.threads))
            worker = self._waiting.popleft()
            self._busy.add(worker)
        return worker


class _Worker:
    """One process, in a session of its own, so that Ctrl-C reaches its parent alone."""

    def __init__(self, command: tuple[str, ...], threads: int | None) -> None:
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self.process = subprocess.Popen(  # noqa: S603 - our own worker
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            text=True,
            start_new_session=True,
            env=os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
        )
        self._ready: str | None = None

    def holds_context(self) -> bool:
        """Whether its imports took memory of the card; waits until they are done."""
        assert self.process.stdout is not None
        if self._ready is None:
            self._ready = self.process.stdout.readline()
        try:
            return bool(json.loads(self._ready)["holds_context"])
        except (ValueError, KeyError):
            return False  # it died; whoever asks it hears how

    def ask(self, request: Request) -> dict[str, Any]:
        """Send the request, wait for the answer."""
        watchdog = Timer(_LONGEST_SECONDS, self._kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._asked(request)
        finally:
            watchdog.cancel()

    def _asked(self, request: Request) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.holds_context()
        if self._ready:
            with suppress(BrokenPipeError):
                self.process.stdin.write(json.dumps(request.to_json()) + "\n")
                self.process.stdin.flush()
        line = self.process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            return {"outcome": "failed", "reason": self._last_words()}
        return dict(answer)

    def end(self) -> None:
        """Kill what is left of it."""
        self._kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._noise):
            if stream is not None:
                with suppress(BrokenPipeError, ValueError):
                    stream.close()

    def _kill(self) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        code = self.process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self._noise.seek(0)
        words = " ".join(self._noise.read().decode(errors="replace").split())
        return f"the worker {how}" + (f": …{words[-_TAIL_CHARACTERS:]}" if words else "")


def facts_of_this_machine(command: Sequence[str] | None = None) -> dict[str, Any]:
    """The environment as a worker sees it: this process keeps away from torch and the card.

    Raises: AdvisorError where the worker can't say.
    """
    run = subprocess.run([*(command or COMMAND), "--facts"], capture_output=True, text=True, check=False)  # noqa: S603 - our own worker
    try:
        return dict(json.loads(run.stdout))
    except ValueError as error:
        words = " ".join(run.stderr.split())
        raise AdvisorError(
            "A worker can't start here.",
            why=words[-_TAIL_CHARACTERS:],
            fix="check that torch, transformers, peft, trl and bitsandbytes import",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error
