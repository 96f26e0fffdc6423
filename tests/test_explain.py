"""What is alive at the peak, the course of a step, and the levers: figures that add up, changes that do what they say."""

import json
import os
import subprocess
import sys

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import model_from_config
from advisor.estimate import Estimator
from advisor.explain import explain
from advisor.records import config_from_json
from advisor.tape.store import TapeStore

CARD = find_gpu("rtx-4090")[0]
TINY = model_from_config(
    {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 32003,
    },
    "tiny",
)[0]
CONFIG = config_from_json({"micro_batch": 4, "sequence_length": 2048})


@pytest.fixture(scope="module")
def estimator(kept_tapes):
    """One for all tests here."""
    store = TapeStore(cache_folder=kept_tapes)
    yield Estimator(store)
    store.close()


@pytest.fixture(scope="module")
def one(estimator):
    """A LoRA step without checkpointing and with the stock loss."""
    return explain(TINY, CONFIG, CARD, estimator)


def test_what_is_alive_adds_up_to_the_peak(one):
    """But for what the allocator hands out beyond a request."""
    total = sum(share.size_bytes for share in one.shares)

    assert total <= one.peak_allocated_bytes < total * 1.01
    assert total == sum(one.by_category().values())


def test_categories_are_those_of_the_estimate(one, estimator):
    """The same peak, told twice."""
    told = dict(estimator.estimate(TINY, CONFIG, CARD).at_peak)

    assert one.by_category() == {k: v for k, v in told.items() if k != "rounding" and v}


def test_the_course_reaches_the_peak_and_begins_with_the_weights(one):
    """Its highest moment is the peak, its first what was loaded."""
    heights = [moment.allocated_bytes for moment in one.moments]

    assert one.peak_allocated_bytes * 0.99 < max(heights) <= one.peak_allocated_bytes
    assert heights[0] < max(heights) / 2
    assert {"forward", "backward", "optimizer"} <= {moment.phase for moment in one.moments}


def test_a_lever_saves_what_the_changed_config_needs_less(one, estimator):
    """Asked for itself, the changed config has the peak that the lever promised."""
    lever = next(lever for lever in one.levers if lever.change == "checkpointing non-reentrant")
    changed = config_from_json(CONFIG.to_json() | {"checkpointing": "non-reentrant"})
    needs = estimator.outcome(TINY, changed, CARD).peak_reserved_bytes

    assert one.peak_reserved_bytes - needs == lever.saved_reserved_bytes > 0
    assert lever.cost == "each layer is computed twice"


def test_levers_come_in_order_and_none_is_what_is_there_already(one, estimator):
    """The largest saving first; a checkpointed config is not told to checkpoint."""
    saved = [lever.saved_reserved_bytes for lever in one.levers]
    small = config_from_json({"checkpointing": "non-reentrant", "loss": "chunked", "sequence_length": 512})
    names = {lever.change for lever in explain(TINY, small, CARD, estimator).levers}

    assert saved == sorted(saved, reverse=True)
    assert {"chunked loss", "micro-batch 2", "NF4 base"} <= {lever.change for lever in one.levers}
    assert not {name for name in names if name.startswith(("checkpointing", "chunked", "micro-batch"))}


def test_8_bit_is_told_to_checkpoint_reentrantly(estimator):
    """LLM.int8 keeps every layer's input through the other kind: the change costs nothing and saves."""
    config = config_from_json(
        {"precision": "int8", "checkpointing": "non-reentrant", "loss": "chunked", "micro_batch": 2}
    )
    lever = next(
        lever
        for lever in explain(TINY, config, CARD, estimator).levers
        if lever.change == "checkpointing reentrant"
    )

    assert lever.saved_allocated_bytes > 0


def said(*words):
    """Exit code and output of `advisor explain`."""
    command = [sys.executable, "-m", "advisor.cli", "explain", *words]
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return run.returncode, run.stdout, run.stderr


ROW = json.dumps({"model": TINY.config, "gpu": "rtx-4090", "micro_batch": 4, "sequence_length": 2048})


@pytest.mark.usefixtures("one")
def test_people_see_shares_course_and_levers():
    """In this order."""
    code, out, err = said(ROW)

    assert code == 0, err
    places = [out.index(words) for words in ("Alive at the peak", "▁", "One change alone", "checkpointing")]
    assert places == sorted(places)


@pytest.mark.usefixtures("one")
def test_two_configs_are_compared_by_category():
    """What was changed, and by how much each category grew or shrank."""
    other = json.dumps(json.loads(ROW) | {"checkpointing": "non-reentrant"})
    code, out, err = said(ROW, "--compare", other)

    assert code == 0, err
    assert "checkpointing: none → non-reentrant" in out
    assert "peak reserved" in out


def test_a_plan_can_be_explained(tmp_path):
    """The file that `advisor plan -o` writes, as one JSON document."""
    plan = tmp_path / "plan.json"
    command = [sys.executable, "-m", "advisor.cli", "plan", "--gpu", "rtx-4090", "--model", "0.5B"]
    subprocess.run([*command, "-o", str(plan)], check=True, capture_output=True)
    code, out, err = said(str(plan), "--json")
    document = json.loads(out)

    assert code == 0, err
    assert document["schema"] == 1
    assert document["explained"][0]["model"] == "qwen2.5-0.5b"
    assert document["explained"][0]["levers"]


def test_what_is_no_config_is_an_error():
    """A missing file, a bad row: three lines, no traceback."""
    for words in ("nowhere.json", '{"model": "8B", "precison": "nf4"}'):
        code, out, err = said(words)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
