"""Markdown for the page of a CI job."""

import os
from collections.abc import Sequence
from pathlib import Path

from advisor.errors import AdvisorError, ExitCode

_VARIABLE = "GITHUB_STEP_SUMMARY"  # docs.github.com, "Workflow commands": a file to append Markdown to


def append_to_job_page(markdown: str) -> Path | None:
    """Append to the page of the running job; the file, or None where no CI system gave one.

    Raises: AdvisorError where the file can't be written.
    """
    named = os.environ.get(_VARIABLE)
    if not named:
        return None
    path = Path(named)
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(markdown if markdown.endswith("\n") else markdown + "\n")
    except OSError as error:
        raise AdvisorError(
            f"Can't append to {path}.",
            why=error.strerror or str(error),
            fix=f"unset {_VARIABLE}, or name a file that can be written",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error
    return path


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
