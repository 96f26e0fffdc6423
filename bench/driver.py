"""Runs the requests of a sweep through workers, one or several at a time, and hands every finished row on at once."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from bench.caps import find_smallest_cap
from bench.expected import Expected
from bench.pool import WorkerPool
from bench.request import Request

Keep = Callable[[Request, dict[str, Any]], None]  # a finished measurement, from the thread that called `run`
_BESIDE_BYTES = 1 << 30  # a process's context and modules, beside what its allocator reserves


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a sweep may run."""

    parallel: int = 1  # measurements at a time; with several, memory counts and time does not
    memory_bytes: int | None = None  # what all at a time may take; None: unknown
    budget_seconds: float | None = None
    find_cap: bool = False


@dataclass(slots=True)
class Finished:
    """What a worker answered for one request, and its trials under caps."""

    request: Request
    answer: dict[str, Any]
    trials: list[tuple[Request, dict[str, Any]]] = field(default_factory=list)
    took_seconds: float = 0.0


@dataclass(slots=True)
class Run:
    """A sweep on its way: who waits, who runs, how far the rule of thumb for seconds is off."""

    todo: list[Expected]
    pool: WorkerPool
    limits: Limits
    keep: Keep
    on_done: Callable[[Expected, Finished], None] = lambda *_: None
    _began: float = field(default_factory=monotonic)
    _running: dict["Future[Finished]", Expected] = field(default_factory=dict)
    _expected_seconds: float = 0.0
    _taken_seconds: float = 0.0

    def run(self) -> None:
        """Measure until all is done or the budget is spent.

        Raises: KeyboardInterrupt once the workers are gone; what had finished is kept.
        """
        with ThreadPoolExecutor(self.limits.parallel) as executor:
            try:
                while self._start(executor) or self._running:
                    done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._finish(future)
            except BaseException:
                self.pool.close()
                self._keep_what_finished()
                raise

    @property
    def pace(self) -> float:
        """Seconds taken for each second expected, so far."""
        return self._taken_seconds / self._expected_seconds if self._expected_seconds else 1.0

    @property
    def seconds_left(self) -> float:
        """Until all that waits is done, at the present pace."""
        waiting = sum(each.seconds for each in (*self.todo, *self._running.values()))
        return waiting * self.pace / self.limits.parallel

    def _start(self, executor: ThreadPoolExecutor) -> bool:
        """Start what there is room for; False where nothing was."""
        started = False
        while len(self._running) < self.limits.parallel:
            expected = next((e for e in self.todo if self._has_room(e) and self._in_budget(e)), None)
            if expected is None:
                break
            self.todo.remove(expected)
            self._running[executor.submit(self._measure, expected)] = expected
            started = True
        return started

    def _in_budget(self, expected: Expected) -> bool:
        budget = self.limits.budget_seconds
        return budget is None or monotonic() - self._began + expected.seconds * self.pace <= budget

    def _has_room(self, expected: Expected) -> bool:
        """One at a time always has; several share the memory, and one of unknown size runs alone."""
        if not self._running:
            return True
        if self.limits.memory_bytes is None:
            return False
        needs = [each.request.predicted_bytes for each in (expected, *self._running.values())]
        if any(need is None for need in needs):
            return False
        return sum((need or 0) + _BESIDE_BYTES for need in needs) <= self.limits.memory_bytes

    def _measure(self, expected: Expected) -> Finished:
        began = monotonic()
        request = expected.request
        done = Finished(request, self.pool.measure(request))
        if self.limits.find_cap and done.answer["outcome"] == "ok" and request.cap_bytes is None:
            with suppress(InterruptedError):  # the row itself is whole
                done.answer["smallest_cap"] = find_smallest_cap(
                    request, done.answer, self._trial(done), guess_bytes=request.predicted_cap_bytes
                )
        done.took_seconds = monotonic() - began
        return done

    def _trial(self, done: Finished) -> Callable[[Request], dict[str, Any]]:
        def trial(request: Request) -> dict[str, Any]:
            answer = self.pool.measure(request)
            done.trials.append((request, answer))
            return answer

        return trial

    def _keep_what_finished(self) -> None:
        for future in list(self._running):
            with suppress(InterruptedError):
                self._finish(future)

    def _finish(self, future: "Future[Finished]") -> None:
        expected = self._running.pop(future)
        done = future.result()
        self._expected_seconds += expected.seconds
        self._taken_seconds += done.took_seconds
        for request, answer in (*done.trials, (done.request, done.answer)):
            self.keep(request, answer)
        self.on_done(expected, done)
