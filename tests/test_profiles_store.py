"""Reading what is kept: newer schemas, withdrawn rows, two folders, environments that are what they were."""

import json
from dataclasses import replace

import pytest
from profile_parts import ENVIRONMENT, FACTS, MODEL, PLACE, keep, measured, row, write_lines

import advisor
from advisor.errors import AdvisorError, ExitCode
from advisor.profiles import folders
from advisor.profiles.environments import environment_folder, environment_name, read_environment
from advisor.profiles.folders import profiles_folder, user_profiles_folder
from advisor.profiles.row import measurement_to_row
from advisor.profiles.store import append_row, known_rows, read_rows, withdraw_row


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's own."""
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path / "own"))
    return tmp_path / "own"


def test_what_was_appended_is_read(tmp_path):
    """With the ids that appending gave, in order."""
    ids, _ = keep(tmp_path, 1, 2, 3)

    assert [replace(measured(n), id=i) for n, i in zip((1, 2, 3), ids, strict=True)] == list(
        read_rows(tmp_path)
    )


def test_the_same_row_twice_is_one_row(tmp_path):
    """And both calls give its id."""
    ids, path = keep(tmp_path, 1, 2, 1)

    assert ids[0] == ids[2]
    assert 2 == len(path.read_text().splitlines())


def test_a_line_that_git_doubled_is_one_row(tmp_path):
    """Two branches may have added the same row."""
    _, path = keep(tmp_path, 1, 2)
    path.write_text(path.read_text() * 2)

    assert 2 == len(list(read_rows(tmp_path)))


@pytest.mark.parametrize(
    "line", [{"schema": 4, "id": "0" * 16}, {"schema": 4, "withdraws": "0" * 16, "id": "1" * 16}]
)
def test_a_newer_schema_is_refused(tmp_path, line):
    """The file, the line, the way out; it is the environment that is too old."""
    _, path = keep(tmp_path, 1)
    write_lines(path, [row(), line])

    with pytest.raises(AdvisorError, match=rf"{MODEL}\.jsonl, line 2") as caught:
        list(read_rows(tmp_path))

    assert "schema 4, and this version reads up to 3" in caught.value.why
    assert "update the project" in caught.value.fix
    assert ExitCode.ENVIRONMENT == caught.value.exit_code


@pytest.mark.parametrize(
    "line",
    [
        b"{broken",
        b"[]",
        b'{"schema": 2}',
        b'{"schema": 2, "id": {}}',
        b'{"id": "x"}',
        b"\xff",
        b"[" * 5000,
        b'{"schema": 2, "id": "0", "config": 5}',
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    """Also where it is not the last."""
    _, path = keep(tmp_path, 1)
    path.write_bytes(line + b"\n" + path.read_bytes())

    with pytest.raises(AdvisorError, match=r"line 1 is not a row"):
        list(read_rows(tmp_path))


def test_what_a_probe_wrote_is_no_row(tmp_path):
    """It lies beside the rows, and is appended by the same means."""
    _, path = keep(tmp_path, 1)
    probe = {"schema": 1, "kind": "probe", "benchmark_version": 1, "measured_at": "2026-11-25T10:00:00Z"}
    append_row(tmp_path, (*PLACE[:2], "probe"), probe | {"quick": True, "facts": {}, "kernels": []})

    assert (path.parent / "probe.jsonl").is_file()
    assert 1 == len(list(read_rows(tmp_path)))


def test_a_withdrawn_row_is_left_out(own):
    """Unless it is asked for; the line that withdraws it is no row, and the row's own line stays."""
    ids, path = keep(own, 1, 2)
    before = path.read_bytes()

    assert PLACE == withdraw_row(own, ids[0], "another process used the card")

    assert [ids[1]] == [each.id for each in read_rows(own)]
    assert ids == [each.id for each in read_rows(own, withdrawn=True)]
    assert path.read_bytes().startswith(before)
    line = json.loads(path.read_text().splitlines()[-1])
    assert {"schema", "id", "withdraws", "reason", "measured_at"} == set(line)


def test_a_withdrawn_row_does_not_come_back(own):
    """Appended again it is the row that is there."""
    ids, _ = keep(own, 1)
    withdraw_row(own, ids[0], "wrong")
    keep(own, 1)

    assert [] == list(read_rows(own))


@pytest.mark.parametrize("reason", ["", "  ", "see /home/ada/notes", "x" * 2000, "\x1b[31m"])
def test_a_withdrawal_gives_a_reason_that_may_be_kept(own, reason):
    """Else nothing is written."""
    ids, _ = keep(own, 1)

    with pytest.raises(AdvisorError, match="reason"):
        withdraw_row(own, ids[0], reason)

    assert 1 == len(list(read_rows(own)))


def test_only_a_row_that_is_there_can_be_withdrawn(own):
    """And only once."""
    ids, _ = keep(own, 1)
    with pytest.raises(AdvisorError, match="No row has the id 'abc'"):
        withdraw_row(own, "abc", "wrong")
    withdraw_row(own, ids[0], "wrong")

    with pytest.raises(AdvisorError, match="withdrawn already"):
        withdraw_row(own, ids[0], "wrong")


def test_a_shipped_row_is_withdrawn_in_the_users_folder(own, tmp_path, monkeypatch):
    """The shipped folder of an installed package is not written to."""
    shipped = tmp_path / "shipped"
    ids, path = keep(shipped, 1, 2)
    before = path.read_bytes()
    monkeypatch.setattr(folders, "profiles_folder", lambda: shipped)

    withdraw_row(own, ids[0], "wrong")

    assert [ids[1]] == [each.id for each in known_rows()]
    assert before == path.read_bytes()
    assert FACTS == read_environment(own, "h200", ENVIRONMENT)


def test_known_rows_come_once(own, tmp_path, monkeypatch):
    """Of two folders that share some."""
    keep(tmp_path / "shipped", 1, 2)
    keep(own, 2, 3)
    monkeypatch.setattr(folders, "profiles_folder", lambda: tmp_path / "shipped")

    assert [1 << 20, 2 << 20, 3 << 20] == sorted(each.static_bytes for each in known_rows())


def test_rows_need_an_environment(tmp_path):
    """Without one nobody could tell what ran."""
    with pytest.raises(AdvisorError, match=r"environment\.json can't be used"):
        append_row(tmp_path, PLACE, measurement_to_row(measured()))

    assert [] == list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize(
    "place",
    [
        ("../..", ENVIRONMENT, MODEL),
        ("h200", "..", MODEL),
        ("h200", ENVIRONMENT, "../../x"),
        ("h200", ENVIRONMENT, ""),
        ("h200", ENVIRONMENT, "Llama"),
        ("rtx-9999", ENVIRONMENT, MODEL),
    ],
)
def test_a_row_can_not_lie_elsewhere(tmp_path, place):
    """Names of cards, environments and models alone."""
    keep(tmp_path / "in", 1)
    files = sorted(tmp_path.rglob("*"))

    with pytest.raises(AdvisorError, match="can't be kept"):
        append_row(tmp_path / "in", place, row(2))

    assert files == sorted(tmp_path.rglob("*"))


def test_an_environment_is_named_after_its_facts(tmp_path):
    """Order does not count, a value does; torch's version leads."""
    name = environment_folder(tmp_path, "h200", FACTS)

    assert name == environment_folder(tmp_path, "h200", dict(reversed(FACTS.items())))
    assert name != environment_folder(tmp_path, "h200", FACTS | {"driver": "581"})
    assert name.startswith("torch2.13.0+cu130-")
    assert FACTS == read_environment(tmp_path, "h200", name)


def test_the_shipped_environments_are_what_they_were():
    """Each lies in the folder that its content names."""
    found = sorted(profiles_folder().glob("*/*/environment.json"))

    assert "torch2.11.0-96d3d5" in {path.parent.name for path in found}
    for path in found:
        facts = read_environment(profiles_folder(), path.parts[-3], path.parent.name)
        assert path.parent.name == environment_name(facts)


def test_an_environment_that_was_changed_is_refused(tmp_path):
    """By who reads it, by who measures again, and by who adds a row; it is not written over."""
    _, path = keep(tmp_path, 1)
    other = json.dumps(FACTS | {"driver": "1"})
    path.with_name("environment.json").write_text(other)

    for use in (
        lambda: read_environment(tmp_path, "h200", ENVIRONMENT),
        lambda: environment_folder(tmp_path, "h200", FACTS),
        lambda: append_row(tmp_path, PLACE, row(2)),
    ):
        with pytest.raises(AdvisorError, match="can't be used") as caught:
            use()
        assert ExitCode.ENVIRONMENT == caught.value.exit_code
    assert other == path.with_name("environment.json").read_text()


def test_an_environment_belongs_to_its_card(tmp_path):
    """The card's own name must be the catalog's of that folder."""
    with pytest.raises(AdvisorError, match="can't be kept") as caught:
        environment_folder(tmp_path, "t4", FACTS)

    assert "card = 'NVIDIA H200'" in caught.value.why


def test_where_new_rows_go(tmp_path, monkeypatch):
    """What the user asks for, else the checkout, else the platform's data folder."""
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path / "mine"))
    assert tmp_path / "mine" == user_profiles_folder()

    monkeypatch.delenv("ADVISOR_PROFILES")
    assert profiles_folder() == user_profiles_folder()

    monkeypatch.setattr(advisor, "__file__", str(tmp_path / "site-packages" / "advisor" / "__init__.py"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert tmp_path / "home" / ".local" / "share" / "advisor" / "profiles" == user_profiles_folder()

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert tmp_path / "data" / "advisor" / "profiles" == user_profiles_folder()
