"""Sweep files: what they hold, how they are narrowed, in which order they are measured."""

import json

import pytest
from bench_parts import request

from advisor.catalog.gpus import find_gpu
from advisor.errors import AdvisorError
from bench.expected import expectations, rough_seconds
from bench.order import most_informative_first
from bench.sweep import FOLDER, Narrow, load_sweep, narrowed

SWEEPS = sorted(path.stem for path in FOLDER.glob("*.toml"))


def test_the_sweeps_that_ship_can_be_read():
    """Each names its purpose, and no config twice."""
    assert ["full", "smoke", "standard"] == SWEEPS
    for name in SWEEPS:
        sweep = load_sweep(name)
        assert sweep.about
        assert len(sweep.requests) == len({each.key for each in sweep.requests}) > 10


def test_the_standard_sweep_is_whole():
    """Every precision, method and kind of checkpointing; batches to 16, lengths to 8,192."""
    configs = [each.config for each in load_sweep("standard").requests]

    assert {"fp32", "fp16", "bf16", "int8", "nf4", "nf4-single"} == {c.precision.value for c in configs}
    assert {"lora", "full", "last-layers"} == {c.method.value for c in configs}
    assert {"none", "non-reentrant", "reentrant"} == {c.checkpointing.value for c in configs}
    assert {1, 16} <= {c.micro_batch for c in configs}
    assert {512, 8192} <= {c.sequence_length for c in configs}
    assert {1, 8} <= {c.accumulation_steps for c in configs}
    assert {"adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"} <= {c.optimizer for c in configs}


@pytest.mark.parametrize(("name", "minutes"), [("smoke", 2), ("standard", 15)])
def test_a_sweep_takes_about_what_it_says(name, minutes):
    """By the rule of thumb, on a card of the fastest kind."""
    card = find_gpu("h200")[0]
    expected = sum(rough_seconds(each, card) for each in load_sweep(name).requests)

    assert minutes * 60 / 3 < expected < minutes * 60 * 1.5


def test_fp16_weights_compute_in_fp16():
    """Nobody has to say both."""
    configs = [each.config for each in load_sweep("standard").requests]

    assert {"fp16"} == {c.autocast.value for c in configs if c.precision.value == "fp16"}


def test_a_sweep_is_narrowed_by_models_and_choices():
    """What is left fulfils all of them."""
    sweep = load_sweep("standard")
    narrow = Narrow(
        models=("llama-3.2-1b",), choices={"precision": ("nf4",), "micro_batch": (1, 4), "method": ()}
    )
    kept = narrowed(sweep, narrow)

    assert 0 < len(kept) < len(sweep.requests)
    assert {("llama-3.2-1b", "nf4")} == {(each.model.name, each.config.precision.value) for each in kept}
    assert {1, 4} == {each.config.micro_batch for each in kept}


def test_nothing_left_is_an_error_that_says_what_there_was():
    """Not an empty run."""
    narrow = Narrow(models=("llama-3.1-70b",), choices={})
    with pytest.raises(AdvisorError, match="Nothing of the sweep 'smoke' is left") as caught:
        narrowed(load_sweep("smoke"), narrow)

    assert "qwen2.5-0.5b" in caught.value.why


def test_an_unknown_sweep_names_those_that_exist():
    """And how to give a file."""
    with pytest.raises(AdvisorError, match="Unknown sweep 'smok'") as caught:
        load_sweep("smok")

    assert "smoke" in caught.value.why
    assert ".toml" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema = 2", "schema"),
        ("schema = 1\n[[rows]]\nmodels = ['llama-3.2-1b']\nprecison = 'nf4'", "precison"),
        ("schema = 1\n[[rows]]\nprecision = 'nf4'", "names no models"),
        ("schema = 1\n[[rows]]\nmodels = ['llama-3.2-1b']\nprecision = 'nf5'", "nf5"),
        ("schema = 1\n[[rows]]\nmodels = ['llama-3.2-1b']\nmethod = 'full'\nprecision = 'nf4'", "nf4"),
        ("schema = 1\n[[rows", "not TOML"),
    ],
)
def test_a_bad_sweep_is_named(tmp_path, text, says):
    """With what is wrong in it."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(AdvisorError) as caught:
        load_sweep(str(path))

    assert says in str(caught.value)


def test_single_configs_are_read_from_json_lines(tmp_path):
    """With a cap and a prediction, as a dry run writes them."""
    path = tmp_path / "mine.jsonl"
    row = {"model": "8B", "precision": "nf4", "cap_bytes": 1 << 34, "predicted_bytes": 1 << 33}
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"model": "1B"}) + "\n")
    first, second = load_sweep(str(path)).requests

    assert ("llama-3.1-8b", "nf4", 1 << 34, 1 << 33) == (
        first.model.name,
        first.config.precision.value,
        first.cap_bytes,
        first.predicted_bytes,
    )
    assert second.cap_bytes is None


@pytest.mark.parametrize(
    "line", ["[]", "{", '{"precision": "nf4"}', '{"model": "1B", "cap_bytes": -1}', '{"model": "1B", "x": 1}']
)
def test_a_bad_line_is_named(tmp_path, line):
    """By file and number, or by its key."""
    path = tmp_path / "mine.jsonl"
    path.write_text(line)
    with pytest.raises(AdvisorError):
        load_sweep(str(path))


def test_the_first_rows_span_the_sweep():
    """Twenty of the standard sweep hold every method, most precisions and both ends of the sizes."""
    first = most_informative_first(load_sweep("standard").requests)[:20]
    configs = [each.config for each in first]

    assert {"lora", "full", "last-layers"} == {c.method.value for c in configs}
    assert len({c.precision.value for c in configs}) >= 5
    assert len({each.model.name for each in first}) >= 4


def test_an_order_loses_nothing_and_repeats_nothing():
    """Every request once."""
    requests = load_sweep("standard").requests
    ordered = most_informative_first(requests)

    assert len(ordered) == len(requests)
    assert set(ordered_key(ordered)) == set(ordered_key(requests))


def ordered_key(requests):
    """What tells requests apart."""
    return [each.key for each in requests]


def test_what_is_like_a_measured_row_comes_last():
    """The budget goes where nothing is known."""
    seen, near, far = request(micro_batch=1), request(micro_batch=2), request("8B", precision="nf4")
    ordered = most_informative_first([near, far], [seen])

    assert [far.key, near.key] == ordered_key(ordered)


def test_a_request_that_can_not_fit_is_known_before(estimator):
    """By the simulator, with the peak that it predicts."""
    card = find_gpu("rtx-4090")[0]
    asked = [
        request(
            "8B",
            precision="nf4",
            checkpointing="non-reentrant",
            loss="chunked",
            micro_batch=size,
            accumulation_steps=2,
        )
        for size in (1, 64)
    ]
    small, large = expectations(asked, card, estimator)

    assert small.fits
    assert not large.fits
    assert small.request.predicted_bytes < 24 << 30 < large.request.predicted_bytes
    assert large.reason == "predicted not to fit"
