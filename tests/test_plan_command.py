"""`advisor plan` and `advisor models`: what each question answers, with a clock that can be checked by hand."""

import gc
import json

import pytest
from plan_parts import fake_clock
from typer.testing import CliRunner

from advisor.cli import app
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.tape.store import TapeStore


@pytest.fixture(autouse=True)
def _clock(monkeypatch, tmp_path):
    """A fake one for every estimator, and shipped tapes alone.

    A plan leaves the collector off, which a process of its own forgets.
    """
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(TapeStore, "prepare", lambda *_: None)
    monkeypatch.setattr(Estimator, "step_seconds", lambda _, *asked: fake_clock(*asked), raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    yield
    gc.enable()


def said(*words, code=0):
    """What the command prints; an error that a user can act on is raised as it is."""
    run = CliRunner().invoke(app, list(words))
    if isinstance(run.exception, AdvisorError):
        raise run.exception
    assert code == run.exit_code, run.output
    return run.stdout


def document(*words, code=0):
    """The JSON that the command prints."""
    return json.loads(said(*words, "--json", code=code))


def test_the_goal_changes_the_plan():
    """Least memory is not the fastest."""
    plans = {
        goal: document("plan", "--gpu", "rtx-4090", "--model", "1B", "--goal", goal, "--loss", "chunked")
        for goal in ("quality", "fastest", "least-memory")
    }
    needs = {goal: made["estimate"]["peak_reserved_bytes"]["value"] for goal, made in plans.items()}

    assert {goal: made["goal"] for goal, made in plans.items()} == {goal: goal for goal in plans}
    assert needs["least-memory"] < needs["fastest"]
    assert "bf16" == plans["quality"]["config"]["precision"]


def test_the_terminal_shows_what_else_is_worth_choosing():
    """A table with the plan marked."""
    text = said("plan", "--gpu", "rtx-4090", "--model", "1B")

    assert "← the plan" in text
    assert "tokens/s" in text
    assert "--goal quality" in text


def test_tokens_give_time_and_energy():
    """The same in examples and epochs; watts come from measured rows alone."""
    asked = ("plan", "--gpu", "h200", "--model", "1B")
    by_tokens = document(*asked, "--tokens", str(2048 * 300))["duration"]
    by_examples = document(*asked, "--examples", "100", "--epochs", "3")["duration"]

    assert by_tokens == by_examples
    assert by_tokens["seconds"]["value"] > 0
    assert ("unknown" in by_tokens["energy_basis"]) == (by_tokens["energy_kwh"] is None)
    assert "steps" in said(*asked, "--tokens", "1000000")


def test_a_second_card_is_put_beside():
    """What it would change, and by how much."""
    text = said("plan", "--gpu", "16GB", "--compare-gpu", "rtx-4090", "--model", "1B")

    assert "instead of Tesla T4" in text
    assert "compared" in document("plan", "--gpu", "16GB", "--compare-gpu", "rtx-4090", "--model", "1B")


def test_several_cards_are_ranked(tmp_path):
    """By price where there is one; with exit code 1 where none will do."""
    prices = tmp_path / "prices.toml"
    prices.write_text("[per_hour]\nt4 = 5.0\nrtx-4090 = 0.3\n")
    asked = ("plan", "--gpus", "t4,rtx-4090", "--model", "1B", "--tokens", "1000000")
    cheap = document(*asked, "--prices", str(prices))["cards"]
    hopeless = document(*asked, "--deadline", "1s", code=1)["cards"]

    assert {"t4": 2, "rtx-4090": 1} == {card["gpu"]: card["place"] for card in cheap}
    assert [None, None] == [card["place"] for card in hopeless]
    assert "rtx-4090" in said(*asked)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--gpus", "t4,l4", "--deadline", "1h"), "how much to train"),
        (("--gpus", "t4,l4", "-o", "x.json"), "one card"),
        (("--gpu", "t4", "--deadline", "1h", "--tokens", "5"), "among cards"),
        (("--gpu", "t4", "--tokens", "5", "--examples", "5"), "both"),
        (("--gpu", "t4", "--risk", "3"), "risk"),
        (("--gpu", "t4", "--reserve", "99GB"), "reserve"),
        (("--gpu", "t4", "--micro-batch", "3"), "divide"),
        (("--gpu", "t4", "--lora-targets", ","), "no module"),
    ],
)
def test_questions_that_make_no_sense_say_why(words, match):
    """Instead of an answer to another one."""
    with pytest.raises(AdvisorError, match=match):
        said("plan", "--model", "1B", *words)


def test_a_page_is_written_beside_the_plan(tmp_path):
    """Both files, and the plan can be run from the one."""
    plan, page = tmp_path / "plan.json", tmp_path / "plan.html"
    said("plan", "--gpu", "rtx-4090", "--model", "1B", "-o", str(plan), "--html", str(page))

    assert "plan" == json.loads(plan.read_text())["kind"]
    assert page.read_text().lower().startswith("<!doctype html>")


def test_models_of_a_card_come_with_an_answer(monkeypatch):
    """Yes, no or unknown for each of the catalog; the largest that fits is named."""
    from advisor.catalog.models import find_model
    from advisor.commands import models as command

    chosen = tuple(find_model(name)[0] for name in ("70B", "8B", "1B"))
    monkeypatch.setattr(command, "all_models", lambda: chosen)

    answers = {one["model"]: one["fits"] for one in document("models", "--gpu", "t4")["models"]}
    text = said("models", "--gpu", "t4")

    assert {"llama-3.1-70b": False, "llama-3.1-8b": True, "llama-3.2-1b": True} == answers
    assert "The largest that Tesla T4 trains is llama-3.1-8b" in text
