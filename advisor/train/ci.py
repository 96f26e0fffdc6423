"""A run as a CI job shows it: JUnit XML and Markdown in the output folder, whether it ended well or not."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from advisor.errors import AdvisorError, ExitCode
from advisor.files import replace_text
from advisor.junit import Case, Result, write_junit
from advisor.step_summary import append_to_job_page, table
from advisor.train.compare import Comparison, comparisons, shown, summary_lines

JUNIT_FILE = "junit.xml"
SUMMARY_FILE = "summary.md"
_GROUP = "advisor.run"


def plain_console() -> Console:
    """Lines on stderr without colour or terminal control, even on a terminal."""
    return Console(stderr=True, highlight=False, force_terminal=False, no_color=True)


@contextmanager
def told_to_ci(output: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Gives the function to call with the document of the run once it ended.

    Writes `junit.xml` and `summary.md`, over those of an earlier run, and appends the summary to the job's page;
    an AdvisorError that leaves the block is told in them, too, and goes on.
    """
    began = time.monotonic()
    cases: list[Case] = []
    parts: list[str] = []

    def ended(document: dict[str, Any]) -> None:
        cases.extend(cases_of(document, time.monotonic() - began))
        parts.append(summary(document))

    try:
        yield ended
    except AdvisorError as error:
        cases[:] = [_failed(error, time.monotonic() - began)]
        parts[:] = [f"### advisor run\n\n**{error.what}**\n\n{error.why}\n\n{error.fix}\n"]
        raise
    finally:
        if cases:
            write_junit(output / JUNIT_FILE, "advisor run", cases)
            replace_text(output / SUMMARY_FILE, parts[0])
            append_to_job_page(parts[0])


def cases_of(document: dict[str, Any], duration_seconds: float) -> tuple[Case, ...]:
    """What a run proves, and what it left unchecked, from its `run.json`."""
    training, evaluation = document["training"], document["training"]["evaluation_loss"]
    story = "\n".join(summary_lines(document))
    trained = Case(
        group=_GROUP,
        name=f"trains {training['steps']} steps",
        result=Result.PASSED,
        text=story,
        duration_seconds=duration_seconds,
    )
    return trained, _evaluated(evaluation), *(_memory(document, row) for row in _peaks(document))


def summary(document: dict[str, Any]) -> str:
    """Markdown: the figures as planned and as measured, and the losses."""
    rows = [
        (
            row.label.strip(),
            shown(row.predicted, row.unit),
            shown(row.measured, row.unit),
            "" if row.error is None else f"{row.error:+.1%}",
        )
        for row in comparisons(document)
    ]
    lines = "".join(f"- {line}\n" for line in summary_lines(document))
    head = f"### advisor run: {document['model']['name']}, planned for {document['gpu']['name']}\n\n"
    return head + table(("", "predicted", "measured", "off by"), rows) + "\n" + lines


def _failed(error: AdvisorError, duration_seconds: float) -> Case:
    answer_is_no = error.exit_code is ExitCode.NO
    return Case(
        group=_GROUP,
        name="trains",
        result=Result.FAILED if answer_is_no else Result.ERROR,
        message=error.what,
        text=str(error),
        duration_seconds=duration_seconds,
    )


def _evaluated(evaluation: dict[str, Any]) -> Case:
    before, after = evaluation["before"], evaluation["after"]
    name = "held-out loss is a number"
    if before is None or after is None:
        return Case(group=_GROUP, name=name, result=Result.SKIPPED, message="nothing was held out")
    told = f"{before:.3f} before, {after:.3f} after"
    result = Result.PASSED if math.isfinite(after) else Result.FAILED
    return Case(group=_GROUP, name=name, result=result, message=told, text=told)


def _peaks(document: dict[str, Any]) -> list[Comparison]:
    return [row for row in comparisons(document) if row.label in ("peak allocated", "peak reserved")]


def _memory(document: dict[str, Any], row: Comparison) -> Case:
    """A comparison is told, never a failure: one outcome in ten lies outside of the interval by its definition."""
    name = f"{row.label} as predicted"
    if row.measured is None or document["environment"].get("card") is None:
        return Case(
            group=_GROUP, name=name, result=Result.SKIPPED, message="no card here, so it was not measured"
        )
    told = f"predicted {shown(row.predicted, row.unit)}, measured {shown(row.measured, row.unit)}"
    return Case(group=_GROUP, name=name, result=Result.PASSED, message=told, text=told)
