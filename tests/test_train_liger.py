"""Where Liger's kernels can't run the chunked loss takes their place: said, and what is learned stays."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from train_parts import ESTIMATE, plan_for, run

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.plan.document import Alternative
from advisor.records import Loss, Reason
from advisor.train import liger
from advisor.train.progress import LossLog

WILD = {"learning_rate": 1e-2, "warmup_steps": 0}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One that has all that Liger's kernels need but a card; the test takes something away."""
    (tmp_path / "Python.h").touch()
    found = {"gcc": "/usr/bin/gcc", "liger_kernel": "a spec"}
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(liger.shutil, "which", found.get)
    monkeypatch.setattr(liger.importlib.util, "find_spec", found.get)
    monkeypatch.setattr(liger.sysconfig, "get_paths", lambda **_: {"include": str(tmp_path)})
    return found


def test_what_is_missing_is_named(machine, monkeypatch, tmp_path):
    """The card, the package, the compiler, Python's headers; with all of them nothing is."""
    assert "" == liger.why_no_liger(on_card=True)
    assert "no NVIDIA card" in liger.why_no_liger(on_card=False)
    (tmp_path / "Python.h").unlink()
    assert "headers" in liger.why_no_liger(on_card=True)
    machine.pop("gcc")
    assert "C compiler" in liger.why_no_liger(on_card=True)
    machine.pop("liger_kernel")
    assert "pip install liger-kernel" == liger.why_no_liger(on_card=True)


def test_the_compiler_is_the_one_that_triton_takes(machine, monkeypatch):
    """gcc or clang, and of $CC that one alone."""
    machine["clang"] = machine.pop("gcc")
    assert "" == liger.why_no_liger(on_card=True)
    monkeypatch.setenv("CC", "icx")
    assert "C compiler" in liger.why_no_liger(on_card=True)
    machine["icx"] = "/opt/icx"
    assert "" == liger.why_no_liger(on_card=True)


def test_where_the_kernels_run_the_plan_is_left_alone(machine):
    """And a plan with another loss is, everywhere."""
    planned, stock = (plan_for(MODEL_FOLDER, loss=loss) for loss in (Loss.LIGER, Loss.STOCK))

    assert (planned, "") == liger.with_kernels_that_run(planned, on_card=True)
    assert (stock, "") == liger.with_kernels_that_run(stock, on_card=False)


def test_figures_of_ligers_step_are_not_those_of_the_chunked_one(machine):
    """On a card nothing is compared with them, nor is one of the plan's Liger alternatives fallen back on."""
    planned = plan_for(MODEL_FOLDER, loss=Loss.LIGER)
    gentler = replace(planned.config, micro_batch=1, accumulation_steps=4)
    why = Reason(code="slower", text="slower")
    other = Alternative(label="smaller", reason=why, config=gentler, needed_bytes=1, lower_bound=False)
    machine.pop("gcc")
    changed, note = liger.with_kernels_that_run(replace(planned, alternatives=(other,)), on_card=True)

    assert replace(planned.config, loss=Loss.CHUNKED) == changed.config
    assert ({}, ()) == (changed.estimate, changed.alternatives)
    assert note.startswith("WARNING")
    assert ESTIMATE == liger.with_kernels_that_run(planned, on_card=False)[0].estimate


def test_advisor_run_trains_a_liger_plan_on_the_cpu(tmp_path, data):
    """The command and the shipped model: loudly said, once, and to the bit the run of the plan with the chunked loss."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_document(plan_for(MODEL_FOLDER, loss=Loss.LIGER))))
    output = tmp_path / "liger"
    words = ["run", plan, "--model", MODEL_FOLDER, "--data", data, "--output", output, "--max-steps", 3]
    words += ["--learning-rate", WILD["learning_rate"], "--warmup-steps", WILD["warmup_steps"]]
    ended = subprocess.run(
        [sys.executable, "-c", "from advisor.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"},
    )
    assert 0 == ended.returncode, ended.stderr
    chunked = run(plan_for(MODEL_FOLDER, loss=Loss.CHUNKED), tmp_path / "chunked", data, MODEL_FOLDER, **WILD)
    document = json.loads((output / "run.json").read_text())
    said = [note for note in document["notes"] if "Liger" in note]

    assert 1 == len(said)
    assert said[0].startswith("WARNING")
    assert said[0] in ended.stderr
    assert "there is no NVIDIA card" in said[0]
    assert "chunked" == document["config"]["loss"] == document["config_at_end"]["loss"]
    assert list(chunked.learned.losses) == document["training"]["loss"]


def plan_document(planned):
    """The plan as its file has it."""
    return {
        "schema": 1,
        "kind": "plan",
        "model": asdict(planned.model),
        "gpu": asdict(planned.card),
        "config": planned.config.to_json(),
        "estimate": planned.estimate,
    }


def test_a_run_that_was_cut_goes_on(tmp_path, tiny, data, monkeypatch):
    """With the same command: the checkpoints of a Liger plan are those of the loss that took its place."""
    planned = plan_for(tiny, loss=Loss.LIGER)
    asked = {"max_steps": 4, "save_steps": 2, **WILD}
    whole = run(planned, tmp_path / "whole", data, tiny, **asked)
    plain = LossLog.on_log

    def cut(self, args, state, control, **given):
        if state.global_step == 3:
            raise KeyboardInterrupt
        plain(self, args, state, control, **given)

    with monkeypatch.context() as patch:
        patch.setattr(LossLog, "on_log", cut)
        with pytest.raises(AdvisorError, match="nterrupted"):
            run(planned, tmp_path / "cut", data, tiny, **asked)
    resumed = run(planned, tmp_path / "cut", data, tiny, **asked)

    assert 2 == resumed.learned.resumed_at_step
    assert Loss.CHUNKED is resumed.config.loss
    assert () == resumed.changes
    assert whole.learned.losses == resumed.learned.losses
    assert whole.learned.evaluation_after == resumed.learned.evaluation_after
