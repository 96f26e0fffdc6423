"""Which tokens a row becomes, and which of them the loss counts: exactly as the notes claim."""

import pytest
from train_parts import write_rows
from transformers import AutoTokenizer

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.train.model import byte_tokenizer
from advisor.train.rows import read_rows
from advisor.train.tokens import encoded, marks_assistant, what_counts

IGNORED = -100
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Define haze."},
        {"role": "assistant", "content": "Fog."},
        {"role": "user", "content": "And rain?"},
        {"role": "assistant", "content": "Water."},
    ]
}


@pytest.fixture
def tokenizer():
    """The demo's, fresh, for some tests change it."""
    return AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)


def encode(tmp_path, tokenizer, *rows):
    """The rows, through a file, as (ids, labels)."""
    return list(encoded(read_rows(write_rows(tmp_path / "rows.jsonl", list(rows))), tokenizer))


def counted(tokenizer, example):
    """The text that the loss counts."""
    ids, labels = example
    assert len(ids) == len(labels)
    assert all(label in (token, IGNORED) for token, label in zip(ids, labels, strict=True))
    return tokenizer.decode([label for label in labels if label != IGNORED])


def test_text_counts_whole_and_ends(tmp_path, tokenizer):
    """Every token counts, and an end token follows each text."""
    first, second = encode(tmp_path, tokenizer, {"text": "a hack"}, {"text": "a bug"})

    assert "a hack<|endoftext|>" == tokenizer.decode(first[0]) == counted(tokenizer, first)
    assert counted(tokenizer, second) == "a bug<|endoftext|>"


def test_an_end_that_is_there_is_not_doubled(tmp_path, tokenizer):
    """A text that already ends with the end token keeps one."""
    ((ids, _),) = encode(tmp_path, tokenizer, {"text": "a hack<|endoftext|>"})

    assert ids.count(tokenizer.eos_token_id) == 1


def test_a_prompt_is_read_and_not_counted(tmp_path, tokenizer):
    """The labels are those of the completion and its end, and of nothing else."""
    (example,) = encode(tmp_path, tokenizer, {"prompt": "Define haze:", "completion": " fog."})
    prompt = tokenizer("Define haze:")["input_ids"]

    assert tokenizer.decode(example[0]) == "Define haze: fog.<|endoftext|>"
    assert prompt == example[0][: len(prompt)]
    assert [IGNORED] * len(prompt) == example[1][: len(prompt)]
    assert counted(tokenizer, example) == " fog.<|endoftext|>"


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt(tmp_path, tokenizer):
    """T5-like tokenizers add the end themselves; between prompt and completion it would be wrong."""
    from tokenizers.processors import TemplateProcessing

    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    (example,) = encode(tmp_path, tokenizer, {"prompt": "one", "completion": " two"})

    assert tokenizer.decode(example[0]) == "one two<|endoftext|>"
    assert counted(tokenizer, example) == " two<|endoftext|>"


def test_messages_count_what_the_assistant_says(tmp_path, tokenizer):
    """All its turns, with their end marks; neither the system's nor the user's."""
    (example,) = encode(tmp_path, tokenizer, CHAT)

    assert counted(tokenizer, example) == "Fog.<|im_end|>Water.<|im_end|>"
    assert tokenizer.decode(example[0]).startswith("<|im_start|>system\nBe brief.<|im_end|>")


def test_a_template_without_marks_counts_every_token_and_says_so(tmp_path, tokenizer):
    """The fallback is a printed note, not a silent one."""
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    rows = read_rows(write_rows(tmp_path / "rows.jsonl", [CHAT]))
    ((ids, labels),) = encoded(rows, tokenizer)

    assert ids == labels
    assert "the loss counts every token: the chat template has no" in what_counts(rows, tokenizer)


@pytest.mark.parametrize("mark", ["{% generation %}", "{%- generation -%}", "{%generation%}"])
def test_the_mark_is_found_however_it_is_spaced(mark):
    """Templates trim white space in their own ways."""
    assert marks_assistant("{% if a %}" + mark + "x{% endgeneration %}{% endif %}")
    assert not marks_assistant("{% if add_generation_prompt %}generation{% endif %}")


def test_messages_without_a_template_are_refused(tmp_path):
    """A base model's tokenizer can't write a conversation."""
    with pytest.raises(AdvisorError, match="no chat template") as caught:
        encode(tmp_path, byte_tokenizer(), CHAT)

    assert "-Instruct" in caught.value.fix


def test_a_template_that_refuses_names_the_line(tmp_path, tokenizer):
    """As Mistral's does where the roles do not alternate."""
    tokenizer.chat_template = "{% if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}x"
    short = {"messages": [{"role": "assistant", "content": "a"}]}

    with pytest.raises(AdvisorError, match="line 2: the chat template refuses") as caught:
        encode(tmp_path, tokenizer, short, CHAT)

    assert "one at a time" in caught.value.why


def test_bytes_are_tokens_where_there_is_no_tokenizer():
    """Ids 0 to 255 are the bytes themselves; the end is 256; nothing is lost."""
    text = "naïve {hack}\n€5"
    ids = byte_tokenizer()(text)["input_ids"]

    assert list(text.encode()) == ids
    assert text == byte_tokenizer().decode(ids)
    assert 256 == byte_tokenizer().eos_token_id == len(byte_tokenizer()) - 1
