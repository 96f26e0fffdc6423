"""The user's text in the plan's shape: split, packed, cut into whole steps, and each of it said."""

import pytest
from train_parts import texts, write_rows
from transformers import AutoTokenizer

from advisor.demo import HELDOUT_FILE, MODEL_FOLDER, TRAIN_FILE
from advisor.errors import AdvisorError
from advisor.records import Loss, TrainConfig
from advisor.train.data import arrange, read_texts
from advisor.train.request import RunRequest

SHAPE = TrainConfig(micro_batch=2, sequence_length=32, accumulation_steps=2)


@pytest.fixture(scope="module")
def tokenizer():
    """The demo's."""
    return AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)


def arranged_data(tmp_path, tokenizer, rows, config=SHAPE, **request):
    """Rows, through a file, as the data of a run."""
    path = write_rows(tmp_path / "train.jsonl", rows)
    asked = RunRequest(data=path, output=tmp_path / "out", **request)
    return arrange(read_texts(asked), tokenizer, config, asked, vocab=4096)


def test_the_rows_are_whole_steps_of_whole_blocks(tmp_path, tokenizer):
    """No micro-batch is ever smaller than the plan's, and no accumulation is cut short."""
    data = arranged_data(tmp_path, tokenizer, texts(60), epochs=2.5)

    assert data.steps * SHAPE.effective_batch == len(data.training)
    assert int(2.5 * data.blocks / SHAPE.effective_batch) == data.steps
    assert {32} == {len(row["input_ids"]) for row in data.training}
    assert f"{data.steps} steps of 4 blocks (2 at a time) over {data.blocks} blocks" in " ".join(data.notes)


def test_the_last_twentieth_is_held_out(tmp_path, tokenizer):
    """Deterministic, said, and not trained on."""
    path = write_rows(tmp_path / "train.jsonl", texts(41))
    read = read_texts(RunRequest(data=path, output=tmp_path))

    assert (len(read.training.rows), len(read.held_out.rows)) == (39, 2)
    assert "entry 39" in read.held_out.rows[0].text
    assert "the last 2 of 41 examples" in read.notes[0]


def test_a_file_of_held_out_rows_leaves_the_others_whole(tmp_path):
    """The user's split is the user's."""
    read = read_texts(RunRequest(data=TRAIN_FILE, evaluation_data=HELDOUT_FILE, output=tmp_path))

    assert (len(read.training.rows), len(read.held_out.rows)) == (1942, 204)


def test_few_examples_are_all_trained_on_and_that_is_said(tmp_path, tokenizer):
    """Five per cent of nine is none."""
    data = arranged_data(tmp_path, tokenizer, texts(9))

    assert data.held_out is None
    assert any("no evaluation: 5 % of 9 examples is none" in note for note in data.notes)


def test_less_text_than_a_block_is_padded_and_repeated_and_said(tmp_path, tokenizer):
    """One line of text still trains in the planned shape."""
    data = arranged_data(tmp_path, tokenizer, [{"text": "a hack"}])
    notes = " ".join(data.notes)

    assert (data.steps, data.blocks, len(data.training)) == (1, 1, 4)
    assert "shorter than one block of 32" in notes
    assert "one step alone repeats the blocks 4.0 times" in notes


def test_what_is_not_reached_is_said(tmp_path, tokenizer):
    """`--max-steps` short of a pass leaves blocks out."""
    data = arranged_data(tmp_path, tokenizer, texts(60), max_steps=2)

    assert len(data.training) == 8
    assert f"{data.blocks - 8} blocks are not reached" in " ".join(data.notes)


def test_held_out_blocks_are_whole_micro_batches(tmp_path, tokenizer):
    """Evaluation takes the plan's shape too, where there is enough for one."""
    data = arranged_data(tmp_path, tokenizer, texts(200))

    assert len(data.held_out)
    assert len(data.held_out) % SHAPE.micro_batch == 0


def test_prompts_alone_leave_nothing_to_learn_from(tmp_path, tokenizer):
    """Where every block is all prompt there is no loss."""
    rows = [{"prompt": "word " * 200, "completion": "x"}]

    with pytest.raises(AdvisorError, match="nothing to learn from") as caught:
        arranged_data(tmp_path, tokenizer, rows)

    assert "no block of 32 tokens" in caught.value.why


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path, tokenizer):
    """On a card it would be a device-side assertion, far from its cause."""
    path = write_rows(tmp_path / "train.jsonl", texts(5))
    asked = RunRequest(data=path, output=tmp_path)

    with pytest.raises(AdvisorError, match="tokens that the model does not have"):
        arrange(read_texts(asked), tokenizer, SHAPE, asked, vocab=100)


def test_blocks_share_attention_and_that_is_said(tmp_path, tokenizer):
    """Packing marks no borders; a chunked loss over masked labels needs less than planned."""
    chunked = TrainConfig(micro_batch=1, sequence_length=16, loss=Loss.CHUNKED)
    rows = [{"prompt": "Define haze:", "completion": " fog, or a mist of sorts, over the sea."}] * 4
    notes = " ".join(arranged_data(tmp_path, tokenizer, rows, chunked).notes)

    assert "see each other through attention" in notes
    assert "the loss counts the completions and not the prompts" in notes
    assert "the peak may stay below the plan's" in notes
