"""Where tapes come from: kept, shipped, traced; and what is refused."""

from dataclasses import replace

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model, model_from_config
from advisor.errors import AdvisorError
from advisor.records import TrainConfig
from advisor.tape.file import load_tape, tape_to_bytes
from advisor.tape.store import (
    TapeStore,
    default_cache_folder,
    default_shipped_folder,
    tracer_fingerprint,
    wanted,
)
from advisor.tape.versions import LIGER, installed_version, installed_versions
from bench.ship_tapes import MODELS, shipped

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "vocab_size": 500,
}


@pytest.fixture
def tiny():
    """A model that traces in a second."""
    return model_from_config(TINY, "tiny")[0]


def test_shapes_of_one_class_share_a_tape(tiny):
    """A tape's name says what it was recorded for, not the shape that was asked."""
    one = wanted(tiny, TrainConfig(micro_batch=2, sequence_length=1000), None)
    other = wanted(tiny, TrainConfig(micro_batch=7, sequence_length=333), None)
    single = wanted(tiny, TrainConfig(micro_batch=1, sequence_length=333), None)

    assert one.digest == other.digest != single.digest


def test_the_name_does_not_change_when_the_config_was_built(tiny):
    """transformers writes into what it is given; the facts must stay as they were."""
    from advisor.step.weights import build_config

    spec = find_model("llama-3.2-1b")[0]
    before = wanted(spec, TrainConfig(), None).digest
    build_config(spec.config)

    assert before == wanted(spec, TrainConfig(), None).digest


def test_a_missing_tape_is_traced_once(tiny, tmp_path):
    """And found again by a store that may not trace."""
    ask = wanted(tiny, TrainConfig(micro_batch=2, sequence_length=100), find_gpu("h200")[0])
    store = TapeStore(cache_folder=tmp_path, shipped_folder=tmp_path / "none")
    store.get(ask)
    store.close()

    assert store.traced == 1
    again = TapeStore(cache_folder=tmp_path, shipped_folder=tmp_path / "none", may_trace=False)
    assert again.get(ask) == store.get(ask)


def test_a_tape_of_other_versions_is_recorded_again(tiny, tmp_path):
    """What an upgrade of a library changes must not be missed."""
    ask = wanted(tiny, TrainConfig(micro_batch=2, sequence_length=100), None)
    store = TapeStore(cache_folder=tmp_path, shipped_folder=tmp_path / "none")
    tape = store.get(ask)
    old = replace(tape, versions={**tape.versions, "trl": "0.1"})
    (tmp_path / f"{ask.digest}.tape").write_bytes(tape_to_bytes(old))

    fresh = TapeStore(cache_folder=tmp_path, shipped_folder=tmp_path / "none")
    assert fresh.get(ask).versions == installed_versions()
    assert fresh.traced == 1
    for each in (store, fresh):
        each.close()


def test_another_tracer_keeps_its_tapes_elsewhere(tmp_path, monkeypatch):
    """An upgrade of this project is not answered from what its older version recorded."""
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path))
    sources = tmp_path / "advisor"
    for folder in ("simulate", "step", "tape"):
        (sources / folder).mkdir(parents=True)
        (sources / folder / "part.py").write_text("one = 1")
    monkeypatch.setattr("advisor.__file__", str(sources / "__init__.py"))
    found = []
    for text in ("one = 1", "one = 1", "two = 2"):
        (sources / "simulate" / "part.py").write_text(text)
        tracer_fingerprint.cache_clear()
        found.append(default_cache_folder())
    tracer_fingerprint.cache_clear()

    assert found[0] == found[1] != found[2]
    assert all(folder.parent == tmp_path / "tapes" for folder in found)


def test_a_failed_trace_is_told_every_time_and_tried_once(tmp_path):
    """One bad model does not take the others with it."""
    bad = model_from_config(
        {**TINY, "num_attention_heads": 2, "head_dim": 7, "hidden_act": "nonsense"}, "bad"
    )[0]
    good = model_from_config(TINY, "good")[0]
    config = TrainConfig(micro_batch=2, sequence_length=100)
    store = TapeStore(cache_folder=tmp_path, shipped_folder=tmp_path / "none")
    store.prepare([wanted(bad, config, None), wanted(good, config, None)])

    assert store.find(wanted(good, config, None)) is not None
    for _ in range(2):
        with pytest.raises(AdvisorError):
            store.get(wanted(bad, config, None))
    assert store.traced == 2
    store.close()


def test_shipped_tapes_are_of_the_pinned_versions():
    """All of them, and no more than a few megabytes."""
    files = sorted(default_shipped_folder().glob("*/*.tape"))

    assert len(files) > 200
    assert sum(file.stat().st_size for file in files) < 10_000_000
    for file in files[::20]:
        tape = load_tape(file)
        liger = {LIGER: installed_version(LIGER)} if tape.key["loss"] == "liger" else {}
        assert tape.versions == installed_versions() | liger


def test_every_tape_that_should_ship_does():
    """The list and the folder agree."""
    there = {file.stem for file in default_shipped_folder().glob("*/*.tape")}
    asked = {ask.digest for name in MODELS for ask in shipped(find_model(name)[0])}

    assert len(asked) > 200
    assert not asked - there
    assert len(there - asked) <= 4  # the demo's


@pytest.mark.parametrize("model", ["llama-3.2-1b", "qwen2.5-0.5b"])
def test_a_shipped_tape_is_what_a_trace_gives_today(model, tmp_path):
    """A sample, to the byte: `python -m bench.ship_tapes --fresh` records all."""
    spec = find_model(model)[0]
    asks = shipped(spec)[3:40:18]
    store = TapeStore(cache_folder=tmp_path, shipped_folder=tmp_path / "none")
    store.prepare(asks)
    store.close()

    assert len(asks) >= 2
    for ask in asks:
        kept = (default_shipped_folder() / spec.name / f"{ask.digest}.tape").read_bytes()
        assert kept == (tmp_path / f"{ask.digest}.tape").read_bytes()
