"""`advisor method`: answers by rules with sources, what would change them, questions on a terminal and nowhere else."""

import json
import os
import pty
import subprocess
import sys
from itertools import product

import pytest
from cli_parts import advisor

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.method.decide import checked, decide
from advisor.method.fits import as_answers, fits
from advisor.method.rules import methods, questions, rules, thresholds

CODES = {question.code for question in questions()}


def advice(**given):
    """For answers; the others take their defaults."""
    return decide(checked({"goal": "behaviour", "examples": 2000} | given)[0])


def test_every_rule_asks_known_things_about_known_methods_and_has_a_source():
    """A misspelt condition would make a rule that never acts."""
    known = {"examples_below", "examples_from", *CODES, *(f"fits_{name}" for name in methods())}

    assert len({rule.code for rule in rules()}) == len(rules()) > 20
    for rule in rules():
        assert set(rule.methods) <= set(methods())
        assert set(rule.conditions) <= known
        assert rule.effect in {"enough", "out", "also", "note"}
        assert len(rule.source) > 10
        for name, wanted in rule.conditions.items():
            question = next((q for q in questions() if q.code == name), None)
            assert question is None or set(wanted) <= set(question.answers)


def every_case():
    """All answers together, numbers at and below each threshold, with and without a card."""
    choices = [list(q.answers) or sorted({0, *thresholds(q.code)}) for q in questions()]
    for answers in product(*choices):
        yield dict(zip([q.code for q in questions()], answers, strict=True))


def test_every_rule_acts_somewhere_and_every_method_is_some_answer():
    """A rule that no answers reach is dead."""
    cases = list(every_case())
    card = [{f"fits_{name}": "no" for name in methods()}, {}]
    asleep = [r for r in rules() if not any(r.acts(case | fit) for case in cases for fit in card)]
    from advisor.method.decide import _chosen

    assert not asleep
    assert set(methods()) == {_chosen(case) for case in cases} - {None}


@pytest.mark.parametrize(
    ("given", "method", "also"),
    [
        ({"base": "well"}, "prompting", ()),
        ({"examples": 10}, "prompting", ()),
        ({"goal": "knowledge", "changes": "weekly"}, "retrieval", ()),
        ({"goal": "both"}, "qlora", ("retrieval",)),
        ({"budget": "large-card"}, "lora", ()),
        ({}, "qlora", ()),
        ({"adapters": "no", "budget": "large-card"}, "last-layers", ()),
        ({"shift": "far", "examples": 10**6, "budget": "cluster"}, "full", ()),
        ({"goal": "knowledge", "latency": "tight", "budget": "large-card"}, "lora", ()),
        ({"budget": "none", "base": "fails"}, None, ()),
    ],
)
def test_the_answer_is_the_least_effort_that_is_enough(given, method, also):
    """One case for each method, and one for none."""
    found = advice(**given)

    assert (method, also) == (found.method, found.also)
    assert bool(found.reasons) == (method is not None)
    assert {name for name, _ in found.rejected} == set(methods()) - {method, *also}


def test_what_would_change_the_answer_does():
    """Each change, asked for itself, gives the method that it promised."""
    base = {"goal": "behaviour", "examples": 2000}
    found = advice()

    assert len(found.changes) > 4
    for change in found.changes:
        answer = (
            change.answer if change.question != "examples" else int(change.answer.split()[0].replace(",", ""))
        )
        assert change.method == decide(checked(base | {change.question: answer})[0]).method != found.method


def test_a_rejected_method_is_told_what_it_lacks():
    """The nearest rule that would make it enough."""
    found = dict(advice().rejected)

    assert "would be enough with base well" == found["prompting"]
    assert "16 bytes a weight" in found["full"]


def test_defaults_are_told_and_wrong_answers_are_errors():
    """No silent guess; the nearest known answer."""
    _, assumed = checked({"goal": "format"})

    assert any(line.startswith("budget = one-card") for line in assumed)
    with pytest.raises(AdvisorError, match="--goal is missing"):
        checked({})
    with pytest.raises(AdvisorError) as caught:
        checked({"goal": "behavior"})
    assert "behaviour" in caught.value.why
    with pytest.raises(AdvisorError, match="not a number"):
        checked({"goal": "format", "examples": -1})


def test_the_planner_says_what_fits(estimator):
    """8B on a T4: QLoRA alone, and the budget's rule of thumb is not asked."""
    found = fits(find_model("8B")[0], find_gpu("t4")[0], estimator, 2048)
    chosen = decide(
        checked({"goal": "behaviour", "examples": 2000, "budget": "cluster"})[0] | as_answers(found)
    )

    assert {"lora": False, "qlora": True, "last-layers": False, "full": False} == {
        f.method: f.fits for f in found
    }
    assert "GiB" in found[0].told
    assert "qlora" == chosen.method
    assert "the planner finds no shape" in dict(chosen.rejected)["lora"]


def said(*words):
    """Exit code and output of `advisor method`, with nobody at a terminal."""
    run = advisor("method", *words)
    return run.returncode, run.stdout, run.stderr


def test_without_a_terminal_nothing_is_asked():
    """A pipe gets an error that names the question."""
    code, out, err = said()

    assert (2, "") == (code, out)
    assert "--goal is missing" in err


def test_programs_get_one_document():
    """With sources, and exit code 1 where nothing answers the need."""
    code, out, _ = said("--goal", "knowledge", "--changes", "weekly", "--json")
    document = json.loads(out)
    none = said("--goal", "behaviour", "--base", "fails", "--json")

    assert (0, 1, "method", "retrieval") == (code, document["schema"], document["kind"], document["method"])
    assert all(rule["source"] for rule in document["reasons"])
    assert document["changes"]
    assert (1, None) == (none[0], json.loads(none[1])["method"])


def test_on_a_terminal_it_asks():
    """Every question, in a real terminal; a wrong answer is asked again."""
    command = [sys.executable, "-m", "advisor.cli", "method"]
    mine, theirs = pty.openpty()
    run = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "NO_COLOR": "1"}
    )
    os.close(theirs)
    os.write(mine, b"nonsense\nknowledge\ndaily\n" + b"\n" * 7)
    seen = b""
    while True:
        try:
            part = os.read(mine, 4096)
        except OSError:  # the terminal is gone with its last process
            break
        if not part:
            break
        seen += part
    os.close(mine)
    text = seen.decode()

    assert 0 == run.wait()
    assert all(question.ask in text for question in questions())
    assert "Please select one of the available options" in text
    assert "retrieval" in text
    assert "What would change the answer" in text
