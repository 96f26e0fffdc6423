"""What a run measured on a card becomes a row; what is nobody's business does not."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from profile_parts import FACTS
from train_parts import one_thread, plan_for, texts, write_rows

from advisor.catalog.models import find_model
from advisor.demo import MODEL_FOLDER
from advisor.profiles.record import NO_BENCHMARK
from advisor.profiles.store import read_rows
from advisor.records import Loss
from advisor.train.learn import learn
from advisor.train.request import RunRequest
from advisor.train.run import run_plan
from bench.request import BENCHMARK_VERSION, Request
from bench.session import left_to_do

SECRETS = {
    "HF_TOKEN": "hf_oneSecretOfMine",
    "HUGGING_FACE_HUB_TOKEN": "hf_anotherSecret",
    "WANDB_API_KEY": "a-third-secret",
    "AWS_SECRET_ACCESS_KEY": "a-fourth-secret",
}
PEAKS = {"peak_allocated_bytes": 5 << 20, "peak_reserved_bytes": 6 << 20, "peak_device_bytes": 7 << 20}
FIGURES = {
    "static_bytes": 1 << 20,
    **PEAKS,
    "alloc_retries": 0,
    "phases": {"forward": PEAKS, "first-step": PEAKS},
    "step_seconds": [0.5, 0.25, 0.25],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's profiles, empty."""
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path / "mine"))
    return tmp_path / "mine"


def ready(**changes):
    """A run of a catalog model on the card of FACTS."""
    planned = plan_for(MODEL_FOLDER, evaluates=True)
    spec = find_model("llama-3.2-1b")[0]
    model = replace(planned.model, name=spec.name, parameters=spec.parameters)
    request = SimpleNamespace(learn=True, cap_bytes=None, evaluate_steps=0)
    made = {
        "planned": replace(planned, model=model),
        "request": request,
        "shared": False,
        "data": SimpleNamespace(uncounted_tokens=0),
    }
    return SimpleNamespace(**made | changes)


def learned(folder, made, facts=FACTS, *, whole=True):
    """The rows that are there afterwards, and what was said."""
    said = []
    facts = facts | {"allocator_settings": None}
    learn(made, SimpleNamespace(training_figures=FIGURES), facts, said.append, whole=whole)
    return list(read_rows(folder)) if folder.exists() else [], " ".join(said)


def test_a_run_on_a_card_is_a_row(folder):
    """With the place, the config and the figures of load to the last step; the plan's evaluation is not in them."""
    made = ready()
    (row,), said = learned(folder, made)
    trained = replace(made.planned.config, evaluates=False)

    assert (row.card, row.model, row.config) == ("h200", "llama-3.2-1b", trained)
    assert row.benchmark_version == NO_BENCHMARK
    assert (row.peak_allocated_bytes, row.peak_reserved_bytes, row.peak_device_bytes) == tuple(PEAKS.values())
    assert row.phases.keys() == {"forward", "first-step"}
    assert row.timed_seconds == (0.25, 0.25)
    assert row.id in said
    assert "--no-learn" in said


def test_what_a_run_left_is_measured_by_the_bench_all_the_same(folder):
    """Its weights and data were the user's: a sweep goes on as if the row were not there, and its own counts."""
    (row,), _ = learned(folder, ready())
    request = Request(model=find_model(row.model)[0], config=row.config)
    own = replace(row, benchmark_version=BENCHMARK_VERSION)

    assert left_to_do([request], [row], find_cap=False) == [request]
    assert left_to_do([request], [row, own], find_cap=False) == []


def test_on_a_shared_card_what_nvml_tells_is_left_out(folder):
    """It is the others' memory, too."""
    (row,), _ = learned(folder, ready(shared=True))

    assert row.shared
    assert row.peak_device_bytes is None
    assert all(peaks.peak_device_bytes is None for peaks in row.phases.values())


CHUNKED = replace(ready().planned, config=replace(ready().planned.config, loss=Loss.CHUNKED))
OTHER = replace(ready().planned, model=replace(ready().planned.model, name="mine"))
PROMPTS = SimpleNamespace(uncounted_tokens=9)
NO_ROWS = {
    "resumed, or fell back": (ready(), False),
    "no model 'mine'": (ready(planned=OTHER), True),
    "tokens that do not count": (ready(planned=CHUNKED, data=PROMPTS), True),
    "evaluations on the way": (
        ready(request=SimpleNamespace(learn=True, cap_bytes=None, evaluate_steps=5)),
        True,
    ),
}


@pytest.mark.parametrize("word", NO_ROWS)
def test_figures_that_tell_others_nothing_are_no_row(folder, word):
    """And why not is said."""
    made, whole = NO_ROWS[word]
    rows, said = learned(folder, made, whole=whole)

    assert rows == []
    assert word in said


def test_who_wants_no_row_gets_none(folder):
    """Nor a word on it; nor is there one from a CPU."""
    request = SimpleNamespace(learn=False, cap_bytes=None, evaluate_steps=0)

    assert learned(folder, ready(request=request)) == ([], "")
    assert learned(folder, ready(), FACTS | {"card": None}) == ([], "")


def test_a_store_that_can_not_be_written_does_not_fail_a_run_that_is_over(folder):
    """It is a warning."""
    folder.write_text("a file")
    said = []
    facts = FACTS | {"allocator_settings": None}
    learn(ready(), SimpleNamespace(training_figures=FIGURES), facts, said.append, whole=True)

    assert said[0].startswith("WARNING: not kept in the profiles")


def test_no_secret_of_the_environment_is_written_anywhere(tmp_path, folder, monkeypatch, capfd):
    """Not into run.json, the adapter, a checkpoint, a row or what is printed; and what is pickled is loaded as data alone."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    data = write_rows(tmp_path / "train.jsonl", texts(60))
    asked = {"data": data, "model": str(MODEL_FOLDER), "max_steps": 3, "save_steps": 1}
    with one_thread():
        run_plan(plan_for(MODEL_FOLDER), RunRequest(output=tmp_path / "out", **asked))
    learned(folder, ready())
    printed = "".join(capfd.readouterr())
    files = [path for place in (tmp_path / "out", folder) for path in place.rglob("*") if path.is_file()]

    assert {"run.json", "manifest.json", "optimizer.pt", "environment.json"} <= {path.name for path in files}
    assert not [path.name for path in files if path.name == "training_args.bin"]
    assert "rehearsed on the longest batch" in printed
    assert not [name for name, value in SECRETS.items() if value in printed]
    for path in files:
        content = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in content], path.name
    assert "environ" not in json.loads((tmp_path / "out" / "run.json").read_text())
