"""What the documents show is what the program says. `python tests/test_docs.py` writes it anew."""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import pytest

from advisor.cli import app
from advisor.tape.store import default_shipped_folder

ROOT = Path(__file__).parent.parent
TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
COMMANDS = (
    "plan",
    "method",
    "data",
    "models",
    "estimate",
    "run",
    "verify",
    "merge",
    "check",
    "explain",
    "export",
    "bench",
    "probe",
    "report",
    "accuracy",
    "profiles",
    "show",
    "demo",
)


def said(*words: str) -> str:
    """What `advisor …` prints on a terminal of 100 columns, indented as Markdown code."""
    environment = {**os.environ, **TERMINAL}
    command = [sys.executable, "-m", "advisor.cli", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    return as_code(run.stdout.replace("python -m advisor.cli", "advisor"))


def as_code(text: str) -> str:
    """Indented as Markdown wants code."""
    return "".join(f"    {line.rstrip()}".rstrip() + "\n" for line in text.splitlines())


def help_of(name: str) -> str:
    """A command's help, as `said` gives it, without a process for each."""
    shown = io.StringIO()
    with mock.patch.dict(os.environ, TERMINAL), redirect_stdout(shown), suppress(SystemExit):
        app([name, "--help"], prog_name="advisor")
    return as_code(shown.getvalue())


def help_pages() -> str:
    """Each command's help."""
    pages = [f"## `advisor {name}`\n\n{help_of(name)}" for name in COMMANDS]
    return "\n" + "\n".join(pages) + "\n"


def accuracy_table() -> str:
    """The summary of the accuracy report."""
    report = (ROOT / "reports/accuracy.md").read_text()
    lines = [line for line in report.split("\n\n")[2].splitlines() if line.startswith("|")]
    return "\n".join(lines) + "\n"


PARTS = {
    ("README.md", "plan"): lambda: said("plan", "--gpu", "16GB", "--model", "8B"),
    ("README.md", "accuracy"): accuracy_table,
    ("docs/cli.md", "help"): help_pages,
}


def part(text: str, name: str) -> str:
    """What stands between a part's marks."""
    return text.split(f"<!-- {name} -->\n")[1].split(f"<!-- end {name} -->", maxsplit=1)[0]


@pytest.mark.parametrize(("file", "name"), PARTS)
def test_the_documents_show_what_the_program_says(file, name):
    """Real output, of this version."""
    assert PARTS[file, name]() == part((ROOT / file).read_text(), name)


def test_every_command_is_documented_and_shows_examples():
    """In its help, with a last line to copy."""
    documented = (ROOT / "docs/cli.md").read_text()

    for name in COMMANDS:
        assert f"## `advisor {name}`" in documented
        assert f"advisor {name}" in "".join(help_of(name).splitlines()[-2:])


def test_the_changelog_counts_right():
    """The number of shipped tapes."""
    count = len(list(default_shipped_folder().glob("*/*.tape")))

    assert f"{count} shipped tapes" in (ROOT / "CHANGELOG.md").read_text()


def test_links_lead_somewhere():
    """Every relative link of every document."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "reports").glob("*.md")]
    links = [
        (document, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text())
        if not link.startswith("http")
    ]

    assert len(links) > 20
    assert not [(d.name, link) for d, link in links if not (d.parent / link).exists()]


def test_the_test_command_is_the_one_that_ci_runs():
    """.ci/run takes it from the README."""
    readme = (ROOT / "README.md").read_text()
    commands = [line for line in part(readme, "test command").split("<!-- end -->")[0].splitlines() if line]

    assert 1 == len(commands)
    assert "pytest" in commands[0]
    assert "<!-- test command -->" in (ROOT / ".ci/run").read_text()


def write() -> None:
    """Put what the program says into the documents."""
    for (file, name), make in PARTS.items():
        path = ROOT / file
        text = path.read_text()
        path.write_text(text.replace(f"<!-- {name} -->\n{part(text, name)}", f"<!-- {name} -->\n{make()}"))


if __name__ == "__main__":
    write()
