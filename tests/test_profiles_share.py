"""Rows that travel: what is exported can be merged, and a hostile file changes nothing."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_parts import ENVIRONMENT, FACTS, MODEL, PLACE, keep, row, shared_lines, write_lines

from advisor.errors import AdvisorError, ExitCode
from advisor.profiles import share
from advisor.profiles.check import check_row
from advisor.profiles.environments import environment_name, read_environment
from advisor.profiles.folders import profiles_folder
from advisor.profiles.share import Merged, export_rows, merge_file, read_shared
from advisor.profiles.store import read_rows, stored_rows, withdraw_row


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A folder of the user's own."""
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path / "own"))
    return tmp_path / "own"


def contents(folder):
    """Every file under the folder with what it holds."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_exported_can_be_merged(own, tmp_path):
    """The same rows, but for their provenance; the environment with them."""
    ids, _ = keep(tmp_path / "theirs", 1, 2, 3)
    assert 3 == export_rows(tmp_path / "theirs", tmp_path / "file.jsonl")

    assert Merged(added=3, skipped=0) == merge_file(tmp_path / "file.jsonl", own)

    assert FACTS == read_environment(own, "h200", ENVIRONMENT)
    theirs = [
        (place, each | {"provenance": "contributed"}) for place, each in stored_rows(tmp_path / "theirs")
    ]
    assert theirs == list(stored_rows(own))
    assert ids == [each.id for each in read_rows(own)]


def test_rows_that_are_there_are_skipped(own, tmp_path):
    """Merged twice, stored by the user, withdrawn by the user, or twice in the file."""
    file = write_lines(tmp_path / "file.jsonl", shared_lines(row(1), row(2), row(3), row(3)))
    ids, _ = keep(own, 1, 2)
    withdraw_row(own, ids[1], "wrong")

    assert Merged(added=1, skipped=3) == merge_file(file, own)
    assert Merged(added=0, skipped=4) == merge_file(file, own)
    assert [row(1)["id"], row(3)["id"]] == [each.id for each in read_rows(own)]


def test_the_shipped_rows_travel_too(own, tmp_path):
    """Of the first schema, with their old ids; who has the project has them already."""
    count = export_rows(
        profiles_folder(), tmp_path / "file.jsonl", card="h200", environment="torch2.11.0-96d3d5"
    )

    assert count >= 17  # and one more, withdrawn
    _, rows = read_shared(tmp_path / "file.jsonl")
    assert count == sum(map(len, rows.values()))
    assert Merged(added=0, skipped=count) == merge_file(tmp_path / "file.jsonl", own)
    assert not own.exists()


def test_what_is_withdrawn_does_not_travel(own, tmp_path):
    """Nor does its withdrawal."""
    ids, _ = keep(own, 1, 2)
    withdraw_row(own, ids[0], "wrong")
    export_rows(own, tmp_path / "file.jsonl")

    _, rows = read_shared(tmp_path / "file.jsonl")
    assert {PLACE: [row(2) | {"provenance": "contributed"}]} == rows


def test_an_export_can_be_narrowed(own, tmp_path):
    """To nothing, which is an answer: no."""
    keep(own, 1, 2)
    assert 2 == export_rows(own, tmp_path / "a.jsonl", card="h200", environment=ENVIRONMENT, model=MODEL)

    with pytest.raises(AdvisorError, match="no rows of t4") as caught:
        export_rows(own, tmp_path / "b.jsonl", card="t4")
    assert ExitCode.NO == caught.value.exit_code
    assert not (tmp_path / "b.jsonl").exists()


def test_an_export_replaces_nothing(own, tmp_path):
    """Unless it is told to."""
    keep(own, 1)
    (tmp_path / "file.jsonl").write_text("mine")

    with pytest.raises(AdvisorError, match="exists"):
        export_rows(own, tmp_path / "file.jsonl")
    assert "mine" == (tmp_path / "file.jsonl").read_text()
    assert 1 == export_rows(own, tmp_path / "file.jsonl", force=True)


def changed(place=(), value=None, number=2):
    """The lines of a good file, with the value at that place of that line."""
    lines = copy.deepcopy(shared_lines(row(1), row(2)))
    target = lines[number - 1]
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return "".join(json.dumps(line) + "\n" for line in lines)


GOOD = "".join(json.dumps(line) + "\n" for line in shared_lines(row(1), row(2)))
HOSTILE = {
    "a card that is a path": (changed(["card"], "../../etc"), "line 2", "card '../../etc'"),
    "a card that is no text": (changed(["card"], ["h200"]), "line 2", "card ['h200']"),
    "an unknown card": (changed(["card"], "rtx-9999"), "line 2", "card 'rtx-9999'"),
    "another card than its environment's": (changed(["card"], "t4"), "line 2", "card t4"),
    "a model that is a path": (changed(["model"], "../x"), "line 2", "model '../x'"),
    "a model that is a probe": (changed(["model"], "probe"), "line 2", "model 'probe'"),
    "an environment that is a path": (changed(["environment"], "../x", 3), "line 3", "environment '../x'"),
    "an unknown environment": (
        changed(["environment"], "torch1-000000"),
        "line 2",
        "not in the file's header",
    ),
    "facts that were changed": (
        changed(["environments", ENVIRONMENT, "cuda"], "1", 1),
        "line 1",
        "its facts give",
    ),
    "facts with a path": (
        changed(["environments", ENVIRONMENT, "cuda"], "/opt/cuda", 1),
        "line 1",
        "looks like a path",
    ),
    "facts that are none": (changed(["environments"], {"x": []}, 1), "line 1", "card is missing"),
    "an unknown key": (changed(["note"], "hello"), "line 2", "'note'"),
    "a figure out of range": (changed(["static_bytes"], -5, 3), "line 3", "static_bytes = -5"),
    "a figure that was changed": (changed(["static_bytes"], 5, 3), "line 3", "it was changed"),
    "an id that was changed": (changed(["id"], "0" * 16), "line 2", "it was changed"),
    "a path in a reason": (changed(["reason"], "/home/ada"), "line 2", "reason"),
    "a withdrawal": (GOOD + '{"schema": 2, "id": "0", "withdraws": "1"}\n', "line 4", "a row says its"),
    "another schema": (changed(["schema"], 4, 1), "line 1", "update the project"),
    "a row of another schema": (changed(["schema"], 1), "line 2", "schema = 1, expected 3"),
    "another kind": (changed(["kind"], "x", 1), "line 1", "advisor profiles export"),
    "more in the header": (changed(["host"], "x", 1), "line 1", "alone"),
    "no header": (GOOD.partition("\n")[2], "line 1", "advisor profiles export"),
    "nothing": ("", "line 1", "Expecting value"),
    "an empty line": (GOOD.replace("\n", "\n\n", 1), "line 2", "Expecting value"),
    "not JSON": (GOOD + "{", "line 4", "Expecting property name"),
    "no number": (GOOD.replace("2.5,", "NaN,"), "line 2", "NaN is not JSON"),
    "a key twice": (GOOD.replace('"shared"', '"shared": true, "shared"'), "line 2", "twice"),
    "endless brackets": (GOOD + "[" * 100_000, "line 4", "recursion"),
    "a line without end": (GOOD + "[" * (share.LONGEST_LINE + 1), "line 4", "longer than"),
    "a number without end": (GOOD + "9" * 10_000, "line 4", "digits"),
    "no UTF-8": (GOOD.encode() + b"\xff\xfe", "line 4", "decode"),
}


@pytest.mark.parametrize(("content", "where", "why"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_changes_nothing(own, tmp_path, content, where, why):
    """The line and why; exit code 2; the good rows beside the bad one are not added either."""
    keep(own, 9)
    before = contents(tmp_path)
    file = tmp_path / "file.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(AdvisorError) as caught:
        merge_file(file, own)

    assert f"{where} can't be merged" in caught.value.what
    assert why in caught.value.why
    assert ExitCode.USAGE == caught.value.exit_code
    file.unlink()
    assert before == contents(tmp_path)


def test_the_good_file_of_these_tests_is_good(own, tmp_path):
    """Else they would refuse for other reasons."""
    (tmp_path / "file.jsonl").write_text(GOOD)

    assert Merged(added=2, skipped=0) == merge_file(tmp_path / "file.jsonl", own)


def test_a_file_that_is_too_large_is_refused(own, tmp_path, monkeypatch):
    """By its bytes and by its rows."""
    file = write_lines(tmp_path / "file.jsonl", shared_lines(row(1), row(2)))
    monkeypatch.setattr(share, "MOST_ROWS", 1)
    with pytest.raises(AdvisorError, match="more than 1 rows"):
        merge_file(file, own)

    monkeypatch.setattr(share, "LARGEST_BYTES", 100)
    with pytest.raises(AdvisorError, match="more than 0 MiB"):
        merge_file(file, own)
    with pytest.raises(AdvisorError, match="Can't read"):
        merge_file(tmp_path, own)
    assert not own.exists()


def test_other_facts_of_the_same_fingerprint_are_refused(own, tmp_path, monkeypatch):
    """Six digits may fall together; then neither is written over the other."""
    keep(own, 1)
    before = contents(own)
    monkeypatch.setattr("advisor.profiles.environments.environment_name", lambda _: ENVIRONMENT)
    monkeypatch.setattr(share, "environment_name", lambda _: ENVIRONMENT)
    lines = shared_lines(row(2))
    lines[0]["environments"] = {ENVIRONMENT: FACTS | {"driver": "1"}}

    with pytest.raises(AdvisorError, match="can't be used"):
        merge_file(write_lines(tmp_path / "file.jsonl", lines), own)
    assert before == contents(own)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["..", "/x", "ok"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _leaf_places(value, before=()):
    """The place of everything in nested values."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*before, key)
        yield from _leaf_places(part, (*before, key))


_PLACES = list(_leaf_places(shared_lines(row(1))))


def outcome_of(file):
    """Rows that may be kept, or an error that names a line: nothing else may come of a file."""
    said, environments, rows = "line ", {}, {}
    try:
        environments, rows = read_shared(file)
    except AdvisorError as error:
        said = error.what
    assert "line " in said
    for (card, environment, model), of_place in rows.items():
        assert "h200" == card
        assert environment == environment_name(environments[environment])
        assert not set("/\\") & set(model)
        for each in of_place:
            check_row(each)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(_PLACES), value=_JSON, drop=st.booleans())
def test_any_value_anywhere_is_taken_or_refused(tmp_path, place, value, drop):
    """One value of a good file replaced or left out."""
    lines = copy.deepcopy(shared_lines(row(1)))
    target = lines
    for key in place[:-1]:
        target = target[key]
    if drop:
        del target[place[-1]]
    else:
        target[place[-1]] = value

    outcome_of(write_lines(tmp_path / "file.jsonl", lines))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(GOOD)), length=st.integers(0, 40), new=st.binary(max_size=12))
def test_any_bytes_anywhere_are_taken_or_refused(tmp_path, at, length, new):
    """A few bytes of a good file replaced by others."""
    file = tmp_path / "file.jsonl"
    file.write_bytes(GOOD.encode()[:at] + new + GOOD.encode()[at + length :])

    outcome_of(file)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_JSON, max_size=4))
def test_any_json_lines_are_taken_or_refused(tmp_path, lines):
    """Nothing of a good file at all."""
    outcome_of(write_lines(tmp_path / "file.jsonl", lines))
