"""`advisor run --ci`: an auto-configured fine-tune on the CPU, as a CI job runs it; the example jobs call what there is."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import typer
import yaml
from train_parts import make_tiny_model, texts, write_rows

from advisor.cli import app
from advisor.errors import AdvisorError, ExitCode
from advisor.junit import Case, Result, junit_xml
from advisor.train.ci import told_to_ci

ROOT = Path(__file__).parent.parent


def advisor(*words, folder, **environment):
    """`advisor …` with nothing to ask on standard input."""
    command = [sys.executable, "-m", "advisor.cli", *words]
    environment = {**os.environ, "FORCE_COLOR": "1", "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )


def test_plan_and_run_as_a_job_does(tmp_path):
    """Plan for a card, train here: plain lines, JUnit, Markdown, the job's page; what was not measured is skipped."""
    make_tiny_model(tmp_path / "model")
    write_rows(tmp_path / "train.jsonl", texts(60))
    shape = ("--sequence-length", "32", "--effective-batch", "2", "--micro-batch", "2", "--precision", "nf4")
    words = ("--gpu", "rtx-4060-ti-16gb", "--model", "./model", *shape, "-o", "plan.json")
    planned = advisor("plan", *words, folder=tmp_path)
    assert 0 == planned.returncode, planned.stderr
    page = tmp_path / "page.md"
    page.write_text("before\n")
    asked = ("--ci", "--model", "./model", "--data", "train.jsonl", "--output", "run", "--max-steps", "2")
    run = advisor("run", "plan.json", *asked, folder=tmp_path, GITHUB_STEP_SUMMARY=str(page))

    assert 0 == run.returncode, run.stderr
    assert "\x1b" not in run.stderr
    assert "step 2/2" in run.stderr
    suite = ET.parse(tmp_path / "run" / "junit.xml").getroot()
    assert ("0", "0", "2") == (suite.get("failures"), suite.get("errors"), suite.get("skipped"))
    assert {"trains 2 steps", "peak reserved as predicted"} <= {c.get("name") for c in suite.iter("testcase")}
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert "| peak reserved |" in summary
    assert "before\n" + summary == page.read_text()


@pytest.mark.parametrize(("code", "tag"), [(ExitCode.NO, "failure"), (ExitCode.ENVIRONMENT, "error")])
def test_a_run_that_ends_in_an_error_is_told_and_raised(tmp_path, code, tag):
    """The answer is no: a failure; there is no answer: an error."""
    with pytest.raises(AdvisorError, match="full"), told_to_ci(tmp_path):
        raise AdvisorError("It is full.", why="\x00 bytes", exit_code=code)

    assert "It is full." == ET.parse(tmp_path / "junit.xml").find(f".//{tag}").get("message")
    assert "It is full." in (tmp_path / "summary.md").read_text()


def test_junit_holds_any_text():
    """Control characters, half surrogates and markup are text that a parser reads back."""
    text = "\x00\x1b[31m<&>\ud800 ok"
    xml = junit_xml(
        text, [Case(group=text, name=text, result=result, message=text, text=text) for result in Result]
    )

    assert 4 == len(ET.fromstring(xml).findall(".//testcase"))
    assert "<&>" in ET.fromstring(xml).find(".//failure").text


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_example_jobs_call_commands_and_options_that_exist(name):
    """Every `advisor …` line of the examples is parsed by the command line itself."""
    text = (ROOT / "docs/ci" / name).read_text()
    assert isinstance(yaml.safe_load(text), dict)
    lines = re.findall(r"(?:- run: |    - )advisor (.+)", text)
    group = typer.main.get_command(app)

    assert 3 == len(lines)
    for line in lines:
        command, *words = shlex.split(line)
        made = group.commands[command]
        made.make_context(command, list(words))
