"""`advisor profiles`: what it prints, and what it says where something is wrong."""

import json

import pytest
from profile_parts import ENVIRONMENT, FACTS, MODEL, PLACE, keep, row, shared_lines, write_lines
from typer.testing import CliRunner

from advisor.commands.profiles import profiles_app
from advisor.errors import AdvisorError
from advisor.profiles.environments import environment_folder
from advisor.profiles.store import append_row, read_rows


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A folder of the user's own, and nothing shipped."""
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path / "own"))
    monkeypatch.setattr("advisor.profiles.folders.profiles_folder", lambda: tmp_path / "shipped")
    return tmp_path / "own"


def asked(*arguments):
    """What the command prints on stdout."""
    result = CliRunner().invoke(profiles_app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_merge_says_what_it_added(own, tmp_path):
    """And what was there."""
    keep(own, 1)
    file = write_lines(tmp_path / "file.jsonl", shared_lines(row(1), row(2)))

    assert f"1 rows added to {own}, 1 were there already\n" == asked("merge", file)


def test_list_counts_by_outcome(own):
    """A line for each model; a row of a model that the catalog does not know counts, too."""
    ids, _ = keep(own, 1, 2, 3)
    append_row(own, PLACE, row(4, outcome="oom", reason="CUDA out of memory."))
    append_row(own, (*PLACE[:2], "my-model"), row(5) | {"id": ""})
    asked("withdraw", ids[0], "--reason", "wrong")

    counts = dict.fromkeys(("ok", "oom", "unsupported", "failed", "withdrawn"), 0)
    place = {"card": "h200", "environment": ENVIRONMENT}
    assert {
        "schema": 1,
        "profiles": [
            place | {"model": MODEL} | counts | {"ok": 2, "oom": 1, "withdrawn": 1},
            place | {"model": "my-model"} | counts | {"ok": 1},
        ],
    } == json.loads(asked("list", "--json"))
    assert 3 == len(asked("list").splitlines())
    assert 1 == len(json.loads(asked("list", "--model", "my-model", "--json"))["profiles"])
    assert [] == json.loads(asked("list", "--card", "t4", "--json"))["profiles"]


def test_list_rows_gives_ids(own):
    """Which `withdraw` takes."""
    ids, _ = keep(own, 1, 2)
    lines = asked("list", "--rows").splitlines()
    assert ids == [line.split()[0] for line in lines]

    asked("withdraw", ids[0], "--reason", "another process used the card")

    assert "withdrawn" == asked("list", "--rows").split()[1]
    assert [True, False] == [
        each["withdrawn"] for each in json.loads(asked("list", "--rows", "--json"))["rows"]
    ]


def test_an_empty_store_says_how_to_fill_it(own):
    """On stderr: there is no result."""
    result = CliRunner().invoke(profiles_app, ["list"])

    assert (0, "") == (result.exit_code, result.stdout)
    assert "advisor bench" in result.stderr


def test_export_writes_what_merge_reads(own, tmp_path):
    """Narrowed by card and by any spelling of the model."""
    environment_folder(own, "h200", FACTS)
    keep(own, 1, 2)
    said = asked(
        "export", "-o", tmp_path / "file.jsonl", "--card", "H200", "--model", "meta-llama/Llama-3.2-1B"
    )

    assert said.startswith("2 rows of ")
    assert 3 == len((tmp_path / "file.jsonl").read_text().splitlines())


def test_unknown_names_get_the_nearest(tmp_path):
    """Nothing is written."""
    with pytest.raises(AdvisorError, match="Unknown GPU"):
        asked("export", "-o", tmp_path / "file.jsonl", "--card", "h2000")
    with pytest.raises(AdvisorError, match="Unknown model"):
        asked("export", "-o", tmp_path / "file.jsonl", "--model", "lama-9")

    assert not (tmp_path / "file.jsonl").exists()


@pytest.mark.parametrize("command", ["merge", "list", "export"])
def test_help_ends_with_two_examples(command):
    """As every command's."""
    words = " ".join(asked(command, "--help").split())

    assert 2 == words[words.rindex("--help") :].count(f"advisor profiles {command}")


def test_no_row_is_changed_by_listing(own):
    """Reading is reading."""
    _, path = keep(own, 1)
    before = path.read_bytes()
    asked("list")

    assert before == path.read_bytes()
    assert 1 == len(list(read_rows(own)))
