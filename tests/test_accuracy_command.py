"""`advisor accuracy`: what it prints, writes and says to the shell."""

import json

import pytest
import typer
from typer.testing import CliRunner

from advisor.commands import accuracy as command
from advisor.errors import AdvisorError
from advisor.profiles.folders import profiles_folder
from advisor.profiles.store import read_rows
from bench.accuracy import claims

app = typer.Typer()
app.command()(command.accuracy)
app.command("other")(lambda: None)  # so that `accuracy` is a command of several, as in the real one


@pytest.fixture
def one_row(monkeypatch):
    """The store holds one row, of a small model."""
    rows = [
        row for row in read_rows(profiles_folder()) if row.model == "llama-3.2-1b" and row.cap_bytes is None
    ]
    monkeypatch.setattr(command, "known_rows", lambda: iter(rows[:1]))


def ran(*words):
    """What the command did."""
    return CliRunner().invoke(app, ["accuracy", *words])


def test_it_prints_the_report_or_one_json_document(one_row):
    """Markdown for people; stdout carries nothing else with --json."""
    shown, document = ran(), ran("--json")

    assert (0, 0) == (shown.exit_code, document.exit_code)
    assert shown.stdout.startswith("# Predicted against measured\n")
    assert "## Published by others" not in shown.stdout
    assert (2, 1) == (json.loads(document.stdout)["schema"], len(json.loads(document.stdout)["rows"]))


def test_it_never_replaces_a_file_without_force(one_row, tmp_path):
    """And says so before it works for minutes."""
    path = tmp_path / "accuracy.md"
    path.write_text("mine")
    refused = ran("--output", str(path))

    assert isinstance(refused.exception, AdvisorError)
    assert path.read_text() == "mine"
    assert ran("--output", str(path), "--force").exit_code == 0
    assert path.read_text().startswith("# Predicted")


def test_a_broken_claim_is_exit_code_1(one_row, monkeypatch):
    """The report is printed all the same; stderr says which."""
    claim = {"says": "impossible", "of": "own", "figure": "allocated", "worst_over": -1.0}
    monkeypatch.setattr(claims, "_table", lambda: {"claim": [claim], "risk": []})
    answer = ran()

    assert answer.exit_code == 1
    assert answer.stdout.startswith("# Predicted")
    assert "broken: impossible" in answer.stderr


def test_without_rows_it_says_what_to_do(monkeypatch):
    """No empty report."""
    monkeypatch.setattr(command, "known_rows", lambda: iter(()))

    with pytest.raises(AdvisorError, match="no measured rows"):
        CliRunner().invoke(app, ["accuracy"], catch_exceptions=False)
