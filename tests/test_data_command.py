"""`advisor data` and `advisor plan --data`: what people read and what programs read."""

import json
from dataclasses import replace

import pytest
from cli_parts import advisor

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.data_facts.batches import longest_batches
from advisor.data_facts.plan import length_for, lengths_for, with_data
from advisor.data_facts.report import describe
from advisor.demo import MODEL_FOLDER
from advisor.plan.lanes import DEMO_OPTIONS
from advisor.plan.planner import make_plan
from advisor.step.data import packed_blocks
from advisor.train.rows import read_rows
from advisor.train.tokens import encoded

ROWS = [{"text": "word " * n} for n in [20] * 150 + [60] * 49 + [300]]


@pytest.fixture
def file(tmp_path):
    """200 examples, one of them long."""
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def said(*words):
    """Exit code and output of `advisor data`."""
    run = advisor("data", *words)
    return run.returncode, run.stdout, run.stderr


def test_people_see_lengths_cuts_padding_and_the_recommendation(file):
    """In this order, with a bar for each class of lengths."""
    code, out, err = said(file, "--model", MODEL_FOLDER)
    places = [out.index(words) for words in ("200 examples of text", "█", "examples cut", "group_by_length")]

    assert code == 0, err
    assert places == sorted(places)
    assert "← recommended" in out


def test_programs_get_the_same_numbers(file):
    """One document, with the length that was asked about."""
    code, out, err = said(file, "--tokenizer", MODEL_FOLDER, "--max-seq-length", 50, "--json")
    document = json.loads(out)

    assert code == 0, err
    assert (1, "data", False) == (document["schema"], document["kind"], document["estimated"])
    assert 200 == document["lengths"]["examples"] == sum(bar["examples"] for bar in document["histogram"])
    assert document["tokens"]["low"] == document["tokens"]["value"] == document["lengths"]["tokens"]
    assert 50 in [each["sequence_length"] for each in document["cuts"]]
    assert document["recommended"]["sequence_length"] in [e["sequence_length"] for e in document["cuts"]]


def test_a_bad_file_is_told_by_its_line(tmp_path):
    """As `run` tells it."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "good"}\n{"txt": "bad"}\n')
    code, out, err = said(path)

    assert (2, "") == (code, out)
    assert "line 2" in err


def test_the_data_decides_a_plan_and_its_epoch_is_that_of_a_run(file, estimator):
    """The length, its reason, and as many blocks as a run packs."""
    spec = find_model(str(MODEL_FOLDER))[0]
    lengths = lengths_for(file, None, str(MODEL_FOLDER), spec)
    length = length_for(lengths, spec, None)
    options = replace(DEMO_OPTIONS, sequence_length=length.cut.sequence_length, effective_batch=8)
    made = with_data(make_plan(spec, find_gpu("rtx-4090")[0], options, estimator), lengths, length)
    from advisor.train.model import _tokenizer

    rows = read_rows(file)
    kept = replace(rows, rows=rows.rows[:190])
    packed = packed_blocks(encoded(kept, _tokenizer("demo", MODEL_FOLDER)), made.config.sequence_length)
    reason = next(choice.reason for choice in made.choices if choice.name == "sequence length")

    assert length.cut.sequence_length == made.config.sequence_length
    assert reason.code.startswith("data-")
    assert "train.jsonl" in reason.text
    assert (packed.tokens, len(packed.blocks)) == (made.data["tokens"], made.data["blocks_per_epoch"])
    assert any(f"an epoch is {made.data['steps_per_epoch']} step" in text for text in made.assumptions)


def test_the_longest_batch_is_weighed_at_each_micro_batch(file, estimator):
    """It grows with the micro-batch, and says what the estimate of that very shape says."""
    spec, card = find_model(str(MODEL_FOLDER))[0], find_gpu("rtx-4090")[0]
    lengths = lengths_for(file, None, str(MODEL_FOLDER), spec)
    report = describe(lengths, length_for(lengths, spec, None))
    options = replace(DEMO_OPTIONS, sequence_length=report.recommended.cut.sequence_length, effective_batch=8)
    plan = make_plan(spec, card, options, estimator)
    found = longest_batches(plan, spec, card, report.padding, estimator)
    needed = [each.needed_bytes for each in found]
    last = replace(
        plan.config, micro_batch=16, sequence_length=found[-1].sequence_length, accumulation_steps=1
    )

    assert [each.micro_batch for each in report.padding] == [each.micro_batch for each in found]
    assert needed == sorted(needed)
    assert needed[-1] > needed[0]
    assert estimator.estimate(spec, last, card).peak_reserved_bytes.high == needed[-1]
    assert all(each.fits for each in found)


def test_a_length_that_was_asked_for_stays(file):
    """And what it cuts is told."""
    spec = find_model(str(MODEL_FOLDER))[0]
    lengths = lengths_for(file, None, str(MODEL_FOLDER), spec)
    asked = length_for(lengths, spec, 64)

    assert (64, "asked") == (asked.cut.sequence_length, asked.reason.code)
    assert asked.cut.cut_examples >= 1
