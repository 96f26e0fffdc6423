"""From a measurement to a line and back; upgrades; ids; what a line may hold."""

import json
import re

import pytest
from hypothesis import given
from profile_parts import FACTS, PLACE, measured, measurements, row

from advisor.profiles.check import check_facts, check_row
from advisor.profiles.folders import profiles_folder
from advisor.profiles.row import measurement_to_row, row_id, row_to_measurement, upgraded
from advisor.profiles.store import stored_rows


@given(measurements)
def test_a_line_gives_back_what_it_was_made_of(made):
    """Through JSON text, every field."""
    assert made == row_to_measurement(PLACE, json.loads(json.dumps(measurement_to_row(made))))


@given(measurements)
def test_a_measurement_gives_back_its_line(made):
    """Key by key, in order."""
    line = json.dumps(measurement_to_row(made))

    assert line == json.dumps(measurement_to_row(row_to_measurement(PLACE, json.loads(line))))


def test_the_id_hangs_on_everything_but_the_provenance():
    """Contributed or collected, it is the same row; another place, config or figure is another."""
    plain = row()

    assert plain["id"] == row_id(PLACE, plain | {"provenance": "contributed"})
    others = [
        row_id(("h100-80gb-sxm", *PLACE[1:]), plain),
        row_id((*PLACE[:2], "llama-3.1-8b"), plain),
        row_id(PLACE, plain | {"config": plain["config"] | {"lora_rank": 8}}),
        row_id(PLACE, plain | {"outcome": "oom"}),
        row_id(PLACE, plain | {"alloc_retries": 1}),
        row_id(PLACE, plain | {"measured_at": "2026-11-25T10:00:01Z"}),
    ]
    assert len({plain["id"], *others}) == 1 + len(others)


def test_the_first_schema_is_read_as_what_it_knew():
    """What it did not record is unknown, not zero; its first step was the warm-up."""
    new = {"cap_bytes", "allocator_settings", "clocks", "power", "host_peak_bytes", "smallest_cap"}
    new |= {"host_pace_seconds", "kernels"}
    old = {key: value for key, value in row().items() if key not in new | {"shared", "warmup_steps"}}
    old |= {"schema": 1, "phases": {"load": {"peak_allocated_bytes": 1, "peak_reserved_bytes": 2}}}

    made = row_to_measurement(PLACE, upgraded(old))

    assert all(getattr(made, key) is None for key in new)
    assert made.phases["load"].peak_device_bytes is None
    assert made.timed_seconds == (0.25, 0.125)


def test_the_second_schema_is_read_with_its_id():
    """What it did not record is unknown, and its id is still that of what it says."""
    old = {key: value for key, value in row().items() if key not in {"host_pace_seconds", "kernels"}}
    old |= {"schema": 2}
    old |= {"id": row_id(PLACE, old)}

    made = upgraded(old)

    check_row(made)
    assert made["host_pace_seconds"] is None
    assert made["kernels"] is None
    assert made["id"] == row_id(PLACE, made)


def test_every_shipped_row_may_be_kept():
    """They pass the checks that new rows pass; there are some, and the old ids stay."""
    rows = [each for _, each in stored_rows(profiles_folder(), withdrawn=True)]

    assert len(rows) >= 18
    assert "6b2e9ea544d5b89a" in {each["id"] for each in rows}
    for each in rows:
        check_row(each)


def test_a_row_that_ended_badly_may_be_kept():
    """Figures unknown, a reason given."""
    unknown = dict.fromkeys(
        (
            "static_bytes",
            "peak_allocated_bytes",
            "peak_reserved_bytes",
            "peak_device_bytes",
            "clocks",
            "power",
        )
    )
    check_row(row(outcome="oom", reason="CUDA out of memory.", step_seconds=(), phases={}, **unknown))


NOT_KEPT = {
    "schema": (row() | {"schema": 4}, "schema = 4, expected 3"),
    "schema true": (row() | {"schema": True}, "schema = True"),
    "unknown key": (row() | {"note": "x"}, "'note'"),
    "missing key": ({k: v for k, v in row().items() if k != "shared"}, "shared is missing"),
    "no object": ([], "expected an object"),
    "negative bytes": (row() | {"static_bytes": -1}, "static_bytes = -1"),
    "bytes as a float": (row() | {"static_bytes": 1.0}, "static_bytes = 1.0"),
    "bytes as text": (row() | {"host_peak_bytes": "1"}, "host_peak_bytes = '1'"),
    "too many bytes": (row() | {"peak_device_bytes": 1 << 50}, "peak_device_bytes"),
    "true for a count": (row() | {"alloc_retries": True}, "alloc_retries = True"),
    "more allocated than reserved": (row() | {"peak_reserved_bytes": 1}, "more than peak_reserved_bytes"),
    "a phase likewise": (
        row()
        | {
            "phases": {
                "load": {"peak_allocated_bytes": 2, "peak_reserved_bytes": 1, "peak_device_bytes": None}
            }
        },
        "phases.load",
    ),
    "a phase without a figure": (
        row() | {"phases": {"load": {}}},
        "phases.load.peak_allocated_bytes is missing",
    ),
    "a phase that is a path": (row() | {"phases": {"../x": {}}}, "phases"),
    "endless seconds": (row() | {"step_seconds": [float("inf")]}, "step_seconds"),
    "no number": (row() | {"step_seconds": [float("nan")]}, "step_seconds"),
    "no time at all": (row() | {"step_seconds": [0.0]}, "step_seconds"),
    "no list": (row() | {"step_seconds": 1.0}, "step_seconds"),
    "outcome": (row() | {"outcome": "fine"}, "outcome = 'fine'"),
    "outcome of no kind": (row() | {"outcome": ["ok"]}, "outcome"),
    "ok with a reason": (row() | {"reason": "x"}, "expected none where the outcome is ok"),
    "escapes in a reason": (row() | {"outcome": "oom", "reason": "\x1b[2J"}, "reason"),
    "no such day": (row() | {"measured_at": "2026-02-30T10:00:00Z"}, "measured_at"),
    "provenance": (row() | {"provenance": ["collected"]}, "provenance"),
    "precision": (row() | {"config": {"precision": "fp2"}}, "config: precision = 'fp2'"),
    "unknown in a config": (row() | {"config": {"gpu": "h200"}}, "'gpu'"),
    "clocks": (
        row() | {"clocks": {"sm_mhz_min": 2, "sm_mhz_max": 1, "throttle_reasons": []}},
        "clocks.sm_mhz_min",
    ),
    "watts": (row() | {"power": {"watts_mean": -1, "watts_max": 1, "energy_joules": 1}}, "power.watts_mean"),
    "a cap that is no cap": (row() | {"smallest_cap": 5}, "smallest_cap"),
    "id": (row() | {"id": "../../../etc"}, "id = "),
    "a path": (row() | {"outcome": "failed", "reason": "in /home/ada/run.py"}, "reason: '/home/ada/run.py'"),
    "an address": (row() | {"outcome": "failed", "reason": "asked ada@box"}, "reason: 'ada@box'"),
    "a path in a config": (row() | {"config": {"optimizer": "/opt/adam"}}, "config.optimizer: '/opt/adam'"),
}


@pytest.mark.parametrize(("line", "why"), NOT_KEPT.values(), ids=NOT_KEPT)
def test_a_bad_row_is_refused_by_its_key(line, why):
    """The key, what it holds, what is expected."""
    with pytest.raises(ValueError, match=re.escape(why)):
        check_row(line)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"card": None}, "card is missing"),
        ({"packages": {"peft": "1"}}, "packages.torch"),
        ({"packages": {"torch": 2}}, "packages"),
        ({"load": 0.5}, "load = 0.5"),
        ({"x" * 99: 1}, "no word"),
        ({"note": "y" * 2000}, "note"),
        ({"notes": ["y" * 900] * 20}, "larger than"),
        ({"folder": "/srv/models/llama"}, "folder: '/srv/models/llama'"),
        ({"nested": {"home": ["C:\\Users\\ada"]}}, "nested.home"),
    ],
)
def test_bad_facts_are_refused(change, why):
    """Types, sizes, and what tells of a machine rather than of a card."""
    check_facts(FACTS)

    with pytest.raises(ValueError, match=re.escape(why)):
        check_facts(FACTS | change)


def test_a_measurement_of_the_parts_may_be_kept():
    """Else the tests above would refuse for other reasons."""
    check_row(row(7))
    assert measured(7) == row_to_measurement(PLACE, row(7) | {"id": ""})
