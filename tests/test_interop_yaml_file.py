"""YAML that others wrote: plain data comes through, everything else is one clear error, quickly."""

import time

import pytest

from advisor.errors import AdvisorError
from advisor.interop.yaml_file import parse_mapping, read_mapping

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}], {new}: 1}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "alias bomb": (BOMB, "stand for more than"),
    "merge bomb": (MERGES, "stand for more than"),
    "alias of itself": ("a: &a [*a]", "holds itself"),
    "python tag": ("a: !!python/object/apply:os.system ['true']", "not plain data"),
    "own tag": ("a: !reset 1", "not plain data"),
    "key twice": ("a: 1\nb: 2\na: 3", "stands twice"),
    "key twice in JSON": ('{"a": 1, "a": 2}', "stands twice"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "deep": ("a: " + "[" * 5000, "nests too deeply"),
    "no such date": ("a: 2026-99-99", "month"),
    "number of thousands of digits": ("a: " + "9" * 5000, "digits"),
    "not YAML": ("a: [1", "expected"),
    "list": ("- 1", "no mapping"),
    "empty": ("", "no mapping"),
    "numbers for keys": ("1: 2", "no mapping"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_plain_data_is_one_error(name):
    """Named, explained, and in a moment."""
    text, why = HOSTILE[name]
    began = time.monotonic()

    with pytest.raises(AdvisorError) as told:
        parse_mapping(text.encode(), "it.yml")

    assert why in str(told.value)
    assert "it.yml" in told.value.what
    assert time.monotonic() - began < 5


def test_plain_data_come_through():
    """Anchors and merges too, where they stay small; JSON is YAML."""
    text = (
        "base: &base {bf16: true, n: 4}\ntrain: {<<: *base, n: 8}\nnames: [a, 'b']\nnothing:\nrate: 2.0e-4\n"
    )

    found = parse_mapping(text.encode(), "it.yml")

    assert {"bf16": True, "n": 8} == found["train"]
    assert (["a", "b"], None, 2e-4) == (found["names"], found["nothing"], found["rate"])
    assert {"a": [1]} == parse_mapping(b'\xef\xbb\xbf{"a": [1]}', "it.json")


def test_files_that_can_not_be_read(tmp_path):
    """None there, a folder, not text, too large: the file is named."""
    (tmp_path / "latin.yml").write_bytes(b"a: \xff")
    (tmp_path / "large.yml").write_text("a: 1\n" * 40_000)
    for name in ("none.yml", ".", "latin.yml", "large.yml"):
        with pytest.raises(AdvisorError, match=r"none|\.|latin|128 KiB"):
            read_mapping(tmp_path / name)
