"""The report says what the rows and the simulator say, and the rows keep what is claimed.

Tracing every row takes minutes, so here a sample is predicted anew: rows whose tape is at hand, and some that must
be traced. `python -m bench.accuracy reports` predicts all of them and writes both files.
"""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import Estimator
from advisor.profiles.folders import profiles_folder
from advisor.profiles.record import Outcome
from advisor.profiles.store import read_rows
from advisor.replay.memory import FIRST_STEP, LATER_STEPS
from advisor.residuals.table import MEMORY, Table, shipped
from advisor.step.observe import Phase
from advisor.tape.store import TapeStore
from bench.accuracy.build import published_folder, sample
from bench.accuracy.claims import claims_kept
from bench.accuracy.compared import OWN
from bench.accuracy.document import dumps, from_json, to_json
from bench.accuracy.groups import by_phase, counted
from bench.accuracy.markdown import markdown
from bench.accuracy.others import compare_these
from bench.accuracy.published import read_published
from bench.accuracy.ranges import with_ranges
from bench.accuracy.score import compare_rows
from bench.residuals import repeats_of, rows_of, table_text

REPORTS = Path(__file__).parent.parent / "reports"
LARGEST = "llama-3.1-8b"  # of which there are most rows
AT_HAND, TRACED, PUBLISHED = 10, 5, 6  # rows; about 20 s on two cores with nothing kept


@pytest.fixture(scope="module")
def reported():
    """What reports/accuracy.json holds."""
    return from_json(json.loads((REPORTS / "accuracy.json").read_text()))


@pytest.fixture(scope="module")
def rows():
    """The rows that ship and that a prediction can be wrong about."""
    return [row for row in read_rows(profiles_folder()) if row.outcome in (Outcome.OK, Outcome.OOM)]


def by_id(items):
    """Records by their id."""
    return {item.id: item for item in items}


def test_both_reports_say_the_same(reported):
    """`python -m bench.accuracy reports` writes both; neither is edited."""
    assert (REPORTS / "accuracy.json").read_text() == dumps(to_json(reported))
    assert (REPORTS / "accuracy.md").read_text() == markdown(reported)


def test_the_tables_that_ship_are_made_of_the_reported_rows(reported):
    """Both of them by `python -m bench.residuals`, and every range of the report is read off it, with the row's model left out."""
    folder = files("advisor.residuals")

    assert folder.joinpath("memory.json").read_text() == table_text(rows_of(reported.compared))
    assert folder.joinpath("repeats.json").read_text() == table_text(repeats_of(reported.compared))
    assert with_ranges(reported, shipped(MEMORY)) == reported


def test_a_models_own_rows_do_not_make_its_range(reported):
    """However far off they were."""
    rows = rows_of(reported.compared)
    worse = [
        replace(row, residuals=dict.fromkeys(row.residuals, 9.0)) for row in rows if row.model == LARGEST
    ]
    others = [row for row in rows if row.model != LARGEST]
    changed = by_id(with_ranges(reported, Table(MEMORY, [*worse, *others])).compared)
    own = [row for row in reported.compared if row.model == LARGEST]

    assert 20 < len(own)
    assert own == [changed[row.id] for row in own]
    assert [row for row in reported.compared if row != changed[row.id]]


def test_there_are_rows_of_every_kind(rows):
    """Every precision, method and kind of checkpointing."""
    configs = [row.config for row in rows if row.outcome is Outcome.OK]

    assert len(configs) >= 15
    assert {"fp32", "fp16", "bf16", "int8", "nf4", "nf4-single"} == {c.precision.value for c in configs}
    assert {"lora", "full", "last-layers"} == {c.method.value for c in configs}
    assert {"none", "non-reentrant", "reentrant", "offloaded"} == {c.checkpointing.value for c in configs}


def test_every_stored_row_is_in_the_report(reported, rows):
    """With the figures that its file has; and no row that is not stored."""
    own = reported.of(own=True)
    told = by_id(own.compared)
    ran = [row for row in rows if row.outcome is Outcome.OK and row.cap_bytes is None]
    judged = {row.id for row in rows if row.outcome is Outcome.OOM or row.cap_bytes is not None}

    assert {row.id for row in ran} == set(told)
    assert {v.id for v in own.verdicts} <= judged
    for row in ran:
        figures = told[row.id].figures
        assert row.config == told[row.id].config
        assert row.peak_allocated_bytes == figures["allocated"].measured_bytes
        assert row.peak_reserved_bytes == figures["reserved"].measured_bytes
        assert (row.smallest_cap is None) == ("cap with retries" not in figures)


def test_a_sample_of_the_rows_is_predicted_as_the_report_says(reported, rows, estimator):
    """To the byte: phases, ranges, smallest caps and verdicts included."""
    shipped_alone = Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))
    at_hand = [row for row in rows if is_at_hand(row, shipped_alone)]
    others = [row for row in rows if row not in at_hand]
    chosen = [*sample(at_hand, lambda r: r.id, AT_HAND), *sample(others, lambda r: r.id, TRACED)]
    found = compare_rows(chosen, estimator)

    assert len(found.compared) + len(found.verdicts) >= TRACED
    told, judged = by_id(reported.compared), by_id(reported.of(own=True).verdicts)
    assert [told[row.id] for row in found.compared] == list(found.compared)
    assert [judged[v.id] for v in found.verdicts] == list(found.verdicts)


def is_at_hand(row, estimator):
    """Whether the row's tape is there already."""
    return estimator.has_tape(find_model(row.model)[0], row.config, find_gpu(row.card)[0])


def test_a_sample_of_the_published_rows_is_predicted_as_the_report_says(reported, estimator):
    """To the byte, likewise."""
    rows, _ = read_published(published_folder())
    found = compare_these(sample(rows, lambda r: r.id, PUBLISHED), estimator)

    assert len(found.compared) >= PUBLISHED // 2
    told = by_id(reported.compared)
    assert [told[row.id] for row in found.compared] == list(found.compared)


def test_every_published_row_is_scored_or_left_out_with_a_reason(reported):
    """None is dropped: they add up."""
    rows, left_out = read_published(published_folder())
    others = reported.of(own=False)
    told = {row.id for row in others.compared} | {v.id for v in others.verdicts}

    assert len(rows) >= 81
    assert {row.id for row in rows} == told
    assert left_out == list(others.left_out)
    assert all(out.reason for out in left_out)


def test_the_rows_keep_what_is_claimed(reported):
    """Every claim of `claims.toml`, over all rows; and each of them is about some row."""
    kept = claims_kept(reported)

    assert len([k for k in kept if k.rows]) >= 9
    assert [] == [k.text for k in kept if k.broken]


def test_own_rows_are_all_predicted(reported):
    """No own row is left out."""
    assert [] == [out for out in reported.left_out if out.source == OWN]


def test_saving_and_evaluating_are_predicted_as_well_as_training(reported):
    """Within 1 % each, over all rows; both come after the last step, beside the optimizer's states."""
    phases = {one.group: one for one in by_phase(counted(reported.of(own=True).compared))}

    assert set(phases) == {*(phase.value for phase in Phase), FIRST_STEP, LATER_STEPS}
    assert min(phases["evaluate"].count, phases["save"].count) >= 200
    for name in ("evaluate", "save"):
        assert max(-phases[name].worst_under, phases[name].worst_over) <= 0.01, name
