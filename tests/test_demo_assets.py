"""The demo's model and data: real, whole, licensed, and made by the scripts beside them."""

import gzip
import json
import random
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from advisor.demo import DEMO_FOLDER, HELDOUT_FILE, MODEL_FOLDER, TRAIN_FILE, jargon, wordnet
from advisor.demo.batches import epochs, packed
from advisor.demo.corpus import check_source, read_texts
from advisor.errors import AdvisorError

NF4_BLOCK = 64
HAZE = (
    "14877585 27 n 01 haze 0 002 @ 14877000 n 0000 ~ 14878000 n 0000 | "
    'reduced visibility; "the haze hid it"; "a blue haze"  '
)
KLUGE = """\
kluge
 /klooj/

    [from the German ‘klug’, clever]

    1. n. A Rube Goldberg device. See {
    bit rot}.
"""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """The shipped tokenizer."""
    return AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """The shipped model, in fp32."""
    return AutoModelForCausalLM.from_pretrained(MODEL_FOLDER, dtype=torch.float32, local_files_only=True)


@pytest.fixture(scope="module")
def facts() -> dict:
    """What `training.json` says of the model."""
    return json.loads((MODEL_FOLDER / "training.json").read_text())


@torch.no_grad()
def loss_of(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> float:
    """Mean nats a token over the texts, packed."""
    documents = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    blocks = packed(documents, sequence_length=256)
    assert len(blocks) >= 4
    return float(model(input_ids=blocks, labels=blocks).loss)


def test_the_model_has_the_weights_that_its_record_says(model, facts):
    """The record was written by the run that wrote the weights."""
    assert facts["parameters"] == model.num_parameters()
    assert facts["end"]["tokens"] == facts["end"]["step"] * 256 * facts["recipe"]["micro_batch"]


def test_the_model_learned_its_dictionary(model, tokenizer, facts):
    """On lines it never saw it is far better than random weights, and as good as recorded."""
    texts = list(read_texts(MODEL_FOLDER / "heldout.jsonl"))
    random_model = LlamaForCausalLM(model.config)

    learned = loss_of(model, tokenizer, texts)

    assert learned < loss_of(random_model, tokenizer, texts) - 3.0
    # 61 of the 1,950 held-out lines: near the recorded mean, not equal to it.
    assert facts["saved_heldout_loss"] == pytest.approx(learned, abs=0.5)


def test_the_finetuning_data_is_news_to_the_model(model, tokenizer):
    """There is something to learn: the data cost more than the dictionary does."""
    dictionary = list(read_texts(MODEL_FOLDER / "heldout.jsonl"))
    data = list(read_texts(HELDOUT_FILE))[:20]

    assert loss_of(model, tokenizer, data) > loss_of(model, tokenizer, dictionary) + 0.5


def test_every_quantised_row_is_whole_nf4_blocks(model):
    """No block of NF4 spans two rows."""
    matrices = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]

    assert len(matrices) > 7
    assert all(module.in_features % NF4_BLOCK == 0 for module in matrices)


def test_the_tokenizer_keeps_every_byte(tokenizer):
    """Byte-level: text outside the corpus survives."""
    text = "A {kluge} costs €5 — naïve\tcode\n"

    assert text == tokenizer.decode(tokenizer(text)["input_ids"])


def test_chat_data_marks_the_assistant(tokenizer):
    """`messages` data works, and the loss can be kept to the assistant's words."""
    messages = [
        {"role": "user", "content": "Define haze."},
        {"role": "assistant", "content": "Fog."},
    ]

    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)

    assert tokenizer.decode([token for token, kept in pairs if kept]) == "Fog.<|im_end|>"


def test_the_data_is_two_small_disjoint_sets_of_real_text():
    """Sizes as documented, rows of text alone, no entry or term in both."""
    train, heldout = list(read_texts(TRAIN_FILE)), list(read_texts(HELDOUT_FILE))
    terms = [{text.partition(":")[0].lower() for text in texts} for texts in (train, heldout)]

    assert (1942, 204) == (len(train), len(heldout))
    assert len(train) + len(heldout) == len({*train, *heldout})
    assert not terms[0] & terms[1]
    assert TRAIN_FILE.stat().st_size + HELDOUT_FILE.stat().st_size < 2_000_000
    assert all(60 <= len(text) <= jargon.MAXIMUM_CHARACTERS for text in train + heldout)


def test_the_split_is_a_property_of_the_entry():
    """The shipped halves are those that the script would make."""
    assert not any(jargon.is_heldout(text) for text in read_texts(TRAIN_FILE))
    assert all(jargon.is_heldout(text) for text in read_texts(HELDOUT_FILE))


def test_licences_travel_with_the_files():
    """WordNet's licence asks for its notice on all copies; the Jargon File for a citation."""
    notice = (DEMO_FOLDER / "LICENSE-wordnet.txt").read_text()
    sources = json.loads((DEMO_FOLDER / "sources.json").read_text())["sources"]

    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    assert "same appear on ALL copies" in notice
    assert "public domain" in (DEMO_FOLDER / "LICENSE-jargon.txt").read_text()
    assert {"wordnet", "jargon"} == sources.keys()


def test_a_synset_becomes_a_dictionary_line():
    """The format of `wndb(5WN)`: words, part of speech, definition, examples."""
    expected = "haze (noun): reduced visibility. Example: the haze hid it; a blue haze."

    assert expected == wordnet.render_synset(HAZE)


def test_a_jargon_entry_becomes_one_line(tmp_path: Path):
    """Its cross-references are whole, its quotes plain, and the file's header is left out."""
    header = "00-database-short\nThe Jargon File, public domain, freely shared and modified, 2003\n"
    path = tmp_path / "jargon.dict.dz"
    path.write_bytes(gzip.compress(f"{header}\n{KLUGE}".encode()))

    assert ["kluge: [from the German 'klug', clever] 1. n. A Rube Goldberg device. See {bit rot}."] == list(
        jargon.entries(path)
    )


def test_another_edition_is_refused(tmp_path: Path):
    """A file with other bytes would make another model under the same name."""
    path = tmp_path / "usr/share/dictd/jargon.dict.dz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another edition")

    with pytest.raises(AdvisorError, match="is not the file of dict-jargon"):
        check_source("jargon", tmp_path)


def test_an_epoch_shows_each_token_once():
    """Batches of one shape; the second epoch cuts the same text elsewhere."""
    documents = [[number] * 8 for number in range(64)]
    batches = epochs(documents, sequence_length=16, micro_batch=4, order=random.Random(0))

    first = torch.cat([next(batches) for _ in range(8)])
    second = torch.cat([next(batches) for _ in range(8)])

    assert (32, 16) == tuple(first.shape)
    assert sorted(first.flatten().tolist()) == sorted(token for ids in documents for token in ids)
    assert first.tolist() != second.tolist()
