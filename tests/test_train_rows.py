"""Every line of the user's data is checked, and what is wrong is said with its file and line."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.errors import AdvisorError
from advisor.train import rows as module
from advisor.train.rows import Message, RowFormat, read_rows

TEXT = '{"text": "good"}\n'
BAD_LINES = {
    "not JSON": ("{text: 1}", "it is not JSON"),
    "cut short": ('{"text": "a', "it is not JSON"),
    "a list": ('["text"]', "it is a list, not an object"),
    "a number": ("7", "it is a number, not an object"),
    "another key": ('{"content": "a"}', "none of the keys text, prompt, completion, messages"),
    "no keys": ("{}", "its keys: none"),
    "prompt alone": ('{"prompt": "a"}', "it has no 'completion'"),
    "completion alone": ('{"completion": "a"}', "it has no 'prompt'"),
    "two formats": ('{"text": "a", "messages": []}', "it holds text and also messages"),
    "a number as text": ('{"text": 3}', "its 'text' is a number, not text"),
    "null as text": ('{"text": null}', "its 'text' is null, not text"),
    "empty text": ('{"text": ""}', "its 'text' is empty"),
    "blank text": ('{"text": " \\n"}', "its 'text' is empty"),
    "half a surrogate": ('{"text": "\\ud800"}', "half of a surrogate pair"),
    "messages as text": ('{"messages": "hi"}', "its messages are text, not a list"),
    "no messages": ('{"messages": []}', "its messages are an empty list"),
    "a message without content": (
        '{"messages": [{"role": "user"}]}',
        "message 1 is not an object with a role",
    ),
    "content of parts": (
        '{"messages": [{"role": "user", "content": [{}]}]}',
        "its 'content' is a list, not text",
    ),
    "no assistant": (
        '{"messages": [{"role": "user", "content": "a"}]}',
        "no message has the role 'assistant'",
    ),
    "deep": ("[" * 100_000, "it nests too deeply"),
}


def write(tmp_path, content, name="train.jsonl"):
    """A data file with that content."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_with_its_file_number_and_fault(tmp_path, case):
    """The user can go there and mend it."""
    line, fault = BAD_LINES[case]
    # The line before is blank: it counts, for the editor counts it.
    path = write(tmp_path, f"\n{line}\n")

    with pytest.raises(AdvisorError) as caught:
        read_rows(path)

    assert f"{path}, line 2" in caught.value.what
    assert fault in caught.value.why
    assert '{"text": …}' in caught.value.fix
    assert caught.value.exit_code == 2


def test_formats_are_not_mixed(tmp_path):
    """The first line decides; another format later is an error that names its line."""
    path = write(tmp_path, TEXT * 2 + '{"prompt": "a", "completion": "b"}\n')

    with pytest.raises(AdvisorError, match="line 3") as caught:
        read_rows(path)

    assert "it holds prompt and completion, the lines above hold text" in caught.value.why


def test_each_format_is_read(tmp_path):
    """Text, prompt with completion, and messages; other keys of a row are let be."""
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": 7}

    texts = read_rows(write(tmp_path, '{"text": "one", "source": "x"}\n{"text": "two"}', "a.jsonl"))
    pairs = read_rows(write(tmp_path, '{"prompt": "p", "completion": "c"}', "b.jsonl"))
    chats = read_rows(write(tmp_path, json.dumps(chat), "c.jsonl"))

    assert (texts.format, [row.text for row in texts.rows]) == (RowFormat.TEXT, ["one", "two"])
    assert (pairs.format, pairs.rows[0].prompt, pairs.rows[0].completion) == (RowFormat.COMPLETION, "p", "c")
    assert (Message("user", "q"), Message("assistant", "a")) == chats.rows[0].messages


def test_a_byte_order_mark_blank_lines_and_carriage_returns_do_no_harm(tmp_path):
    """Files from other systems are read as they are."""
    path = write(tmp_path, b"\xef\xbb\xbf" + TEXT.encode() + b"\r\n   \r\n" + '{"text": "é"}\r\n'.encode())

    assert [row.text for row in read_rows(path).rows] == ["good", "é"]


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    """A Latin-1 file is not read as if it were UTF-8."""
    path = write(tmp_path, TEXT.encode() + '{"text": "é"}\n'.encode("latin-1"))

    with pytest.raises(AdvisorError, match="line 2") as caught:
        read_rows(path)

    assert "it is not UTF-8" in caught.value.why


def test_an_endless_line_is_refused_before_it_is_held(tmp_path, monkeypatch):
    """A file without line breaks does not fill the memory."""
    monkeypatch.setattr(module, "_LONGEST_LINE_BYTES", 100)

    with pytest.raises(AdvisorError, match="line 1") as caught:
        read_rows(write(tmp_path, json.dumps({"text": "a" * 200})))

    assert "longer than" in caught.value.why


def test_a_file_beyond_memory_is_refused(tmp_path, monkeypatch):
    """Its size is looked at before it is read."""
    monkeypatch.setattr(module, "_LARGEST_FILE_BYTES", 10)

    with pytest.raises(AdvisorError, match="too large"):
        read_rows(write(tmp_path, TEXT))


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_said_to_be_empty(tmp_path, content):
    """No examples is no training."""
    with pytest.raises(AdvisorError, match="holds no examples"):
        read_rows(write(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.json", "jq -c '.[]' a.json > a.jsonl"),
        ("a.csv", "load_dataset('csv', data_files='a.csv')"),
        ("a.parquet", "load_dataset('parquet', data_files='a.parquet')"),
        ("a.jsonl.gz", "gunzip -k a.jsonl.gz"),
        ("a", '{"text": …}'),
    ],
)
def test_another_kind_of_file_is_told_the_way_to_jsonl(tmp_path, name, how):
    """The fix is a command for the file at hand."""
    with pytest.raises(AdvisorError, match="JSON Lines") as caught:
        read_rows(write(tmp_path, "x", name))

    assert how in caught.value.fix


def test_a_text_file_holds_one_example_a_line(tmp_path):
    """Blank lines are none."""
    rows = read_rows(write(tmp_path, "first {not json}\r\n\nsecond\n", "notes.txt"))

    assert RowFormat.TEXT is rows.format
    assert [(1, "first {not json}"), (3, "second")] == [(row.line, row.text) for row in rows.rows]


def test_a_missing_file_gets_the_nearest_name(tmp_path):
    """A slip of the keyboard is shown what was meant."""
    write(tmp_path, TEXT, "train.jsonl")

    with pytest.raises(AdvisorError, match="There is no file") as caught:
        read_rows(tmp_path / "trian.jsonl")

    assert "train.jsonl" in caught.value.why


def test_a_folder_is_not_a_file(tmp_path):
    """Nothing in it is guessed at."""
    with pytest.raises(AdvisorError, match="is not a file"):
        read_rows(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(tmp_path_factory, content):
    """Whatever the file holds, the answer is rows or an AdvisorError."""
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(content)

    with suppress(AdvisorError):
        assert read_rows(path).rows
