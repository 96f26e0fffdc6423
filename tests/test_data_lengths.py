"""Lengths as a run would have them: the same tokens as transformers' own tokenizer makes, or an estimate that says so."""

import json
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from advisor.data_facts.lengths import read_lengths
from advisor.data_facts.tokenizer import LocalTokenizer, find_tokenizer
from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.train.rows import read_rows
from advisor.train.tokens import encoded

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief. <|im_end|> is text here"},
        {"role": "user", "content": "What is a kludge? Ünïcode: 漢字"},
        {"role": "assistant", "content": "A clumsy fix that works."},
        {"role": "user", "content": "And a hack?"},
        {"role": "assistant", "content": "A quick one."},
    ]
}
ROWS = {
    "text": [{"text": "some words, and numbers 12345"}, {"text": "naïve façade 漢字 🙂"}],
    "completion": [{"prompt": "Define kludge: ", "completion": "a clumsy fix"}],
    "chat": [CHAT],
}


def written(folder, rows, name="train.jsonl"):
    """The rows as a file."""
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ROWS)
def test_tokens_and_labels_are_those_of_a_run(tmp_path, kind):
    """transformers' class and the light one give the same ids, and the loss counts the same."""
    rows = read_rows(written(tmp_path, ROWS[kind]))
    real = list(encoded(rows, AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)))
    light = list(encoded(rows, LocalTokenizer(MODEL_FOLDER)))

    assert real == light
    assert all(labels for _, labels in real)


def test_lengths_and_counted_tokens_are_their_sums(tmp_path):
    """A prompt is in the length and not in the count."""
    path = written(tmp_path, ROWS["completion"])
    ids, labels = next(encoded(read_rows(path), LocalTokenizer(MODEL_FOLDER)))
    found = read_lengths(path, LocalTokenizer(MODEL_FOLDER), vocabulary=None)

    assert (len(ids),) == found.tokens
    assert sum(label != -100 for label in labels) == found.counted_tokens < len(ids)
    assert not found.estimated


def test_an_estimate_says_that_it_is_one_and_holds_the_truth(tmp_path):
    """English prose: the truth lies within the range that it states."""
    rows = [json.loads(line) for line in (MODEL_FOLDER / "heldout.jsonl").read_text().splitlines()[:50]]
    path = written(tmp_path, rows)
    found = read_lengths(path, None, vocabulary=32_000)
    # The demo's tokenizer has 4,096 tokens, so it makes more of them than the class does.
    real = sum(read_lengths(path, LocalTokenizer(MODEL_FOLDER), vocabulary=None).tokens)

    assert found.estimated
    assert found.counted_tokens is None
    assert found.least_share < 1 < found.most_share
    assert sum(found.tokens) * found.least_share < real < sum(found.tokens) * found.most_share
    assert "2.90 characters a token are assumed, 1.82 to 3.88 were measured" in found.notes[0]


def test_a_tokenizer_is_found_beside_the_model_and_nowhere_else(tmp_path):
    """A folder, its config.json, its tokenizer.json; a catalog name has none."""
    for asked in (MODEL_FOLDER, MODEL_FOLDER / "config.json", MODEL_FOLDER / "tokenizer.json"):
        found = find_tokenizer(None, str(asked), "")
        assert found is not None
        assert 4096 == found.vocabulary
    assert find_tokenizer(None, "8B", "") is None
    with pytest.raises(AdvisorError, match="no tokenizer at"):
        find_tokenizer(str(tmp_path), None, "")


def test_what_is_no_tokenizer_is_an_error(tmp_path):
    """Not a traceback."""
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(AdvisorError, match="is not a tokenizer"):
        LocalTokenizer(tmp_path)


def test_messages_without_a_template_say_what_to_do(tmp_path):
    """As a run would."""
    (tmp_path / "tokenizer.json").write_text((MODEL_FOLDER / "tokenizer.json").read_text())
    path = written(tmp_path, ROWS["chat"])

    with pytest.raises(AdvisorError, match="no chat template"):
        read_lengths(path, LocalTokenizer(tmp_path), vocabulary=None)


def test_no_torch_is_imported(tmp_path):
    """Not even for messages, whose template transformers renders."""
    path = written(tmp_path, ROWS["chat"])
    program = (
        "import sys; from advisor.cli import app\n"
        f"app(['data', {str(path)!r}, '--model', {str(MODEL_FOLDER)!r}], standalone_mode=False)\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "False" == run.stderr.split()[-1]
