"""`advisor bench`: from a sweep to rows in the store; what is there is not measured again."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from advisor.profiles.environments import environment_folder
from advisor.profiles.record import NO_BENCHMARK, Measurement, Outcome
from advisor.profiles.row import measurement_to_row
from advisor.profiles.store import append_row, read_rows
from advisor.records import GpuSpec
from advisor.units import gib, seconds
from bench.driver import Finished, Limits, Run
from bench.expected import Expected
from bench.pool import WorkerPool, facts_of_this_machine
from bench.present import others_error, present_card
from bench.request import BENCHMARK_VERSION, Request, label
from bench.rows import measurement

# Facts that change from row to row, or say nothing of memory and speed.
_NOT_OF_THE_ENVIRONMENT = ("allocator_settings",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The card that is present, and where its rows go."""

    card: GpuSpec
    facts: dict[str, Any]
    shared: bool  # someone else uses the card
    folder: Path  # profiles/
    environment: str

    def known(self) -> list[Measurement]:
        """The rows of this card in this environment."""
        rows = read_rows(self.folder)
        return [row for row in rows if (row.card, row.environment) == (self.card.slug, self.environment)]


def open_bench(folder: Path, *, allow_shared: bool) -> Bench:
    """The card here, and its place in the folder.

    Raises: AdvisorError where there is no CUDA card, the catalog does not know it, or someone else uses it.
    """
    facts = facts_of_this_machine()
    environment, shared = facts["environment"], bool(facts["shared"])
    card = present_card(
        environment.get("card"),
        environment.get("memory_bytes"),
        verb="measure",
        fix="run this where the card is; --dry-run --gpu NAME shows here what would run there",
    )
    if shared and not allow_shared:
        raise others_error(
            card,
            why="times would be wrong, and NVML's figure would be that of both",
            fix="end it, or measure memory alone with --shared",
        )
    kept = {name: value for name, value in environment.items() if name not in _NOT_OF_THE_ENVIRONMENT}
    name = environment_folder(folder, card.slug, kept)
    return Bench(card=card, facts=kept, shared=shared, folder=folder, environment=name)


def left_to_do(requests: Iterable[Request], known: Iterable[Measurement], *, find_cap: bool) -> list[Request]:
    """What has no row yet that says how it ended; a failed worker is tried again, and what a run left does not count."""
    done = {
        (row.model, row.config, row.cap_bytes)
        for row in known
        if row.outcome is not Outcome.FAILED
        and row.benchmark_version != NO_BENCHMARK
        and (not find_cap or row.smallest_cap is not None or row.outcome is not Outcome.OK)
    }
    return [request for request in requests if request.key not in done]


@dataclass(slots=True)
class Sweeping:
    """Runs what is to do, shows how far it is, keeps each row as it comes."""

    bench: Bench
    console: Console
    limits: Limits
    pool: WorkerPool
    kept: list[Measurement] = field(default_factory=list)

    def run(self, todo: list[Expected]) -> list[Measurement]:
        """Measure; gives the rows that were kept.

        Raises: KeyboardInterrupt, once all that had finished is kept.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            task = bar.add_task("measuring", total=len(todo), left="")
            run = Run(list(todo), self.pool, self.limits, self._keep)

            def done(_: Expected, finished: Finished) -> None:
                bar.update(task, advance=1, left=f"about {seconds(run.seconds_left)} left")
                bar.console.print(_line(finished), markup=False, highlight=False)

            run.on_done = done
            try:
                run.run()
            finally:
                self.pool.close()
        return self.kept

    def _keep(self, request: Request, answer: dict[str, Any]) -> None:
        if "benchmark_version" not in answer:  # the worker died before it could say anything
            answer = answer | {"benchmark_version": BENCHMARK_VERSION}
        shared = bool(answer.get("shared")) or self.limits.parallel > 1
        row = measurement(
            request,
            answer | {"shared": shared},
            card=self.bench.card.slug,
            environment=self.bench.environment,
        )
        place = (row.card, row.environment, row.model)
        stored = append_row(self.bench.folder, place, measurement_to_row(row))
        self.kept.append(replace(row, id=stored))


def _line(finished: Finished) -> str:
    answer, name = finished.answer, label(finished.request)
    if answer["outcome"] != "ok":
        return f"{answer['outcome']:<11} {name}: {answer['reason'][:120]}"
    peak = answer.get("peak_reserved_bytes")
    timed = sorted(answer["step_seconds"][answer["warmup_steps"] :])
    speed = finished.request.config.tokens_per_step / timed[len(timed) // 2] if timed else 0.0
    cap = answer.get("smallest_cap")
    smallest = f"  smallest cap {gib(cap.with_retries_bytes)}" if cap else ""
    return f"ok          {name}: {gib(peak) if peak else '-'} reserved, {speed:,.0f} tokens/s{smallest}"
