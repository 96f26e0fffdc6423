"""Files from anyone: whatever bytes they hold, the readers give a value or an AdvisorError, and soon.

`corpus/` holds cases that were found or thought of, one file a case in a folder a reader; all of them are replayed.
"""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interop_parts import EXAMPLES, TINY
from test_interop_reading import plan_document

from advisor.catalog.config_file import read_config_file
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model, model_from_config
from advisor.errors import AdvisorError
from advisor.estimate_rows import read_question
from advisor.interop.reading import read_config
from advisor.plan.document import load_plan
from advisor.profiles.store import read_rows as read_profiles
from advisor.tape.file import load_tape
from advisor.train.report import load_report
from advisor.train.rows import read_rows
from bench.sweep import load_sweep

CORPUS = Path(__file__).parent / "corpus"
ROW = json.dumps({"model": TINY, "micro_batch": 2, "precision": "nf4", "gpu": "t4"})
SWEEP = 'schema = 1\n[[rows]]\nmodels = ["qwen2.5-0.5b"]\nprecision = ["bf16", "nf4"]\nmicro_batch = 1\n'
PROFILE = Path(__file__).parent.parent / "profiles/h200"


def profile_rows(path):
    """The store's reader, on a folder whose one file this is."""
    folder = path.parent / "store" / "h200" / "any"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.jsonl").write_bytes(path.read_bytes())
    return list(read_profiles(path.parent / "store"))


READERS = {
    "plan": ("plan.json", load_plan, json.dumps(plan_document())),
    "config-trl": ("train.yml", read_config, EXAMPLES["trl"]),
    "config-axolotl": ("train.yml", read_config, EXAMPLES["axolotl"]),
    "config-llama-factory": ("train.yml", read_config, EXAMPLES["llama-factory"]),
    "data": ("d.jsonl", read_rows, '{"messages": [{"role": "assistant", "content": "a"}]}\n'),
    "model": ("config.json", lambda path: model_from_config(read_config_file(path), "it"), json.dumps(TINY)),
    "row": ("row.json", lambda path: read_question(path.read_bytes().decode("utf-8", "replace")), ROW),
    "run": ("run.json", load_report, '{"schema": 1, "kind": "run"}'),
    "sweep": ("s.toml", lambda path: load_sweep(str(path)), SWEEP),
    "profile": (
        "rows.jsonl",
        profile_rows,
        next(PROFILE.glob("*/*.jsonl")).read_text().splitlines()[0] + "\n",
    ),
    "tape": ("t.tape", load_tape, "{}"),
}
FEW = settings(
    max_examples=40,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def answers(name, content, folder):
    """Whether the reader gives a value; an AdvisorError is an answer, too, and anything else is raised."""
    file, reader, _ = READERS[name]
    path = folder / file
    path.write_bytes(content)
    before = {p for p in folder.parent.rglob("*") if folder not in p.parents and p != folder}
    try:
        reader(path)
    except AdvisorError:
        return False
    finally:
        assert before == {p for p in folder.parent.rglob("*") if folder not in p.parents and p != folder}
    return True


@pytest.mark.parametrize("name", READERS)
@FEW
@given(content=st.binary(max_size=300))
def test_any_bytes(name, content, tmp_path):
    """Not even text."""
    answers(name, content, tmp_path)


@pytest.mark.parametrize("name", READERS)
@FEW
@given(data=st.data())
def test_a_good_file_with_some_bytes_changed(name, data, tmp_path):
    """Cut, overwritten or doubled: the reader comes further than with noise."""
    good = READERS[name][2].encode()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 40)))
    middle = data.draw(
        st.binary(max_size=10)
        | st.sampled_from([b"[" * 3000, b"9" * 5000, b"null", b"1e999", b"NaN", b"\xff", b"{}"])
    )
    answers(name, good[:start] + middle + good[end:], tmp_path)


@pytest.mark.parametrize(
    "name", ["plan", "config-trl", "config-axolotl", "config-llama-factory", "model", "row", "profile"]
)
@FEW
@given(data=st.data())
def test_a_good_file_with_some_values_changed(name, data, tmp_path):
    """Any plain value in the place of any other, at any depth."""
    document = yaml.safe_load(READERS[name][2])
    for _ in range(data.draw(st.integers(1, 3))):
        place = document
        while True:
            key = data.draw(st.sampled_from(sorted(place)))
            if not (isinstance(place[key], dict) and place[key]) or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(VALUES)
    answers(name, json.dumps(document).encode(), tmp_path)


@FEW
@given(text=st.text(max_size=60))
def test_names_of_cards_and_models(text):
    """Of the catalog, or an error; never a path out of it by a name alone."""
    for find in (find_gpu, find_model):
        try:
            find(text)
        except AdvisorError as error:
            assert error.what  # noqa: PT017 - both outcomes are right
    with pytest.raises(AdvisorError):
        find_model("models/../../" + text.replace("\0", ""))


CASES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_corpus_again(path, tmp_path):
    """Each case is refused by its reader in one clear error."""
    assert not answers(path.parent.name, path.read_bytes(), tmp_path)


def test_there_is_a_corpus():
    """For the most read formats at the least."""
    assert {"plan", "config-trl", "data", "model", "profile"} <= {path.parent.name for path in CASES}


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("tape", "profile")])
def test_the_good_file_is_good(name, tmp_path):
    """Else nothing above would have come far."""
    assert answers(name, READERS[name][2].encode(), tmp_path)
