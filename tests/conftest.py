"""What every test starts from: no hub, one place for kept tapes, threads that wait quietly; and the order of the files."""

import os

# Before torch: `advisor.step` sets how its threads wait, and nothing may ask a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import signal

import pytest

import advisor.step  # noqa: F401
from advisor.estimate import Estimator
from advisor.tape.store import TapeStore, default_cache_folder


def pytest_configure():
    """A shell that starts the tests in the background ignores Ctrl-C, and so would all that they start and interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Each takes half a minute or more. A worker takes a file at a time, and one of these alone at the end would keep all waiting.
LONGEST = ("test_train_resume.py", "test_explain.py", "test_accuracy.py", "test_cli.py", "test_contest.py")


def pytest_collection_modifyitems(items):
    """The longest files first; the others stay as they are."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def kept_tapes(tmp_path_factory):
    """Where every trace of this test session lies, whichever worker and command made it; never the user's cache."""
    ours = tmp_path_factory.getbasetemp()
    session = ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVISOR_CACHE", str(session / "kept"))
        yield default_cache_folder()


@pytest.fixture(scope="session")
def estimator():
    """One for all tests of a worker: what traces for it starts once."""
    store = TapeStore()
    yield Estimator(store)
    store.close()


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
