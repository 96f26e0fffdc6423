"""What every test starts from: no hub, one place for kept tapes, threads that wait quietly."""

import os

# Before torch: `advisor.step` sets how its threads wait, and nothing may ask a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

import advisor.step  # noqa: F401


@pytest.fixture(scope="session")
def kept_tapes(tmp_path_factory):
    """A folder that one test session's traces share."""
    return tmp_path_factory.mktemp("tapes")


@pytest.fixture(autouse=True)
def _own_cache(kept_tapes, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("ADVISOR_CACHE", str(kept_tapes))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model of two layers, made here."""
    from train_parts import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty short texts."""
    from train_parts import texts, write_rows

    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", texts(60))
