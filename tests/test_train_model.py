"""Which weights a run takes, and what is refused: other shapes, other formats, names that lead nowhere."""

import json
import shutil
import socket
from dataclasses import replace

import pytest
from train_parts import plan_for

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.step.weights import Checkpoint, Shaped
from advisor.train.model import resolve_model

PLAN = plan_for(MODEL_FOLDER)


@pytest.fixture
def folder(tmp_path):
    """The demo's model, to be spoilt."""
    return shutil.copytree(MODEL_FOLDER, tmp_path / "model")


def refused(name, planned=PLAN):
    """The error that the name gets."""
    with pytest.raises(AdvisorError) as caught:
        resolve_model(planned, str(name))
    return caught.value


def test_a_directory_gives_its_weights_and_tokenizer():
    """No random numbers, no notes."""
    resolved = resolve_model(PLAN, str(MODEL_FOLDER))

    assert Checkpoint(str(MODEL_FOLDER)) == resolved.source
    assert len(resolved.tokenizer) == 4096
    assert (resolved.random, resolved.notes) == (False, ())


def test_the_config_of_a_directory_with_weights_means_the_directory():
    """A plan made from DIR/config.json runs from DIR."""
    assert Checkpoint(str(MODEL_FOLDER)) == resolve_model(PLAN, str(MODEL_FOLDER / "config.json")).source


@pytest.mark.parametrize("name", ["tiny", "random"])
def test_a_shape_gets_random_weights_and_a_loud_warning(name):
    """For benchmarking only, and its text is bytes."""
    resolved = resolve_model(PLAN, name)

    assert isinstance(resolved.source, Shaped)
    assert resolved.random
    assert resolved.notes[0].startswith("WARNING: random weights, for benchmarking only")
    assert "one byte is one token" in resolved.notes[1]


def test_no_model_is_not_a_guess():
    """Random weights are never trained unasked."""
    with pytest.raises(AdvisorError, match="not its weights") as caught:
        resolve_model(PLAN, None)

    assert "--model tiny for random weights" in caught.value.fix


def test_another_shape_is_refused(folder):
    """Its memory was not planned."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 512}))

    error = refused(folder)

    assert "is not the plan's model" in error.what
    assert "hidden_size is 512 here and 256 in the plan" in error.why


def test_pickled_weights_are_refused(folder):
    """They can run code; the fix says how to make safetensors."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    error = refused(folder)

    assert "has no *.safetensors" in error.what
    assert "pytorch_model.bin, which may run code" in error.why


def test_quantised_weights_are_refused(folder):
    """The plan quantises by itself."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq"}})
    )

    assert "quantised already" in refused(folder).what


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_config_is_named(folder, content):
    """Not a traceback."""
    (folder / "config.json").write_text(content)

    assert "config.json" in refused(folder).what


def test_a_directory_without_a_tokenizer_is_named(folder):
    """Text can't be read without one."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()

    assert "no tokenizer" in refused(folder).what


def test_a_name_that_is_nothing_is_an_error():
    """Neither directory, nor hub name, nor the plan's model."""
    assert "There is no model './nowhere'" in refused("./nowhere").what


def test_a_hub_name_without_a_network_says_so_at_once(monkeypatch):
    """The hub's client would retry for minutes."""

    def unknown(*_):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(key, raising=False)

    error = refused("no-such-org/no-such-model")

    assert "the hub can't be reached" in error.what
    assert "hf download" in error.fix
    assert ExitCode.ENVIRONMENT is error.exit_code


def test_a_vocabulary_smaller_than_the_bytes_can_hold_no_text():
    """A shape's text is bytes, so it needs 256 and an end."""
    small = replace(PLAN, model=replace(PLAN.model, config=PLAN.model.config | {"vocab_size": 100}))

    assert "too small for text as bytes" in refused("tiny", small).what
