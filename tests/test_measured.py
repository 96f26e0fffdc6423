"""A config that was measured on the card answers with what was measured, and the simulated peaks beside it."""

from dataclasses import replace
from pathlib import Path

import pytest
from profile_parts import FACTS, keep, measured

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import COARSE, Estimator
from advisor.evidence import Basis
from advisor.profiles import folders
from advisor.profiles.environments import environment_folder
from advisor.profiles.folders import profiles_folder
from advisor.profiles.record import Outcome
from advisor.profiles.row import measurement_to_row
from advisor.profiles.store import append_row, read_rows, rows_of, withdraw_row
from advisor.records import TrainConfig
from advisor.residuals import measured as module
from advisor.residuals.facts import facts_of
from advisor.residuals.measured import MeasuredConfigs
from advisor.tape.store import TapeStore

MODEL = find_model("llama-3.2-1b")[0]
H200 = find_gpu("h200")[0]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty store of the user's, and nothing that ships."""
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path / "own"))
    monkeypatch.setattr(folders, "profiles_folder", lambda: tmp_path / "none")
    return tmp_path / "own"


@pytest.fixture(scope="module")
def off():
    """A row that ships, whose tape ships, and whose reserved peak the simulation does not hit."""
    rows = read_rows(profiles_folder())
    return next(row for row in rows if row.card == "h100-80gb-sxm" and is_off(row))


def is_off(row):
    """Whether it can be asked for, and measured and simulated are not the same."""
    if row.outcome is not Outcome.OK or row.cap_bytes is not None or not estimator().has_tape(*asked(row)):
        return False
    told = estimator().simulated(*asked(row), halvings=COARSE)
    return told.peak_reserved_bytes.value != row.peak_reserved_bytes


def estimator():
    """From tapes that ship alone."""
    return Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))


def asked(row):
    """What to ask for it."""
    return find_model(row.model)[0], row.config, find_gpu(row.card)[0]


def test_measured_beats_simulated_and_both_are_told(off):
    """The three peaks are the row's; what was simulated stands beside them."""
    told = estimator().estimate(*asked(off), halvings=COARSE)
    simulated = estimator().simulated(*asked(off), halvings=COARSE)

    assert Basis.MEASURED is told.basis
    assert off.peak_allocated_bytes == told.peak_allocated_bytes.value
    assert off.peak_reserved_bytes == told.peak_reserved_bytes.value
    assert told.peak_reserved_bytes.low <= off.peak_reserved_bytes <= told.peak_reserved_bytes.high
    assert simulated.peak_reserved_bytes.value == told.simulated.reserved_bytes != off.peak_reserved_bytes
    assert told.to_json()["simulated"]["peak_reserved_bytes"] == told.simulated.reserved_bytes
    assert (simulated.phases, simulated.minimum_reserved_bytes) == (told.phases, told.minimum_reserved_bytes)


def test_its_range_is_narrower_than_any_of_rows_near_it(off):
    """Two runs of one config differ by less than two models."""
    told, simulated = (
        ask(*asked(off), halvings=COARSE).peak_reserved_bytes
        for ask in (estimator().estimate, estimator().simulated)
    )

    assert told.high - told.low < simulated.high - simulated.low


def test_a_plan_counts_with_what_was_measured(off):
    """And with what it may be when it is measured again; the bound of a search is no more than that."""
    needed = [estimator().needed_bytes(*asked(off), risk) for risk in (0.1, 0.001)]

    assert needed == [estimator().least_needed_bytes(*asked(off), risk) for risk in (0.1, 0.001)]
    assert off.peak_reserved_bytes < needed[0] < needed[1]
    assert estimator().reserved(*asked(off)).high <= needed[1]


def test_another_batch_was_not_measured(off):
    """Rows near it give its range."""
    model, config, gpu = asked(off)
    other = replace(config, accumulation_steps=config.accumulation_steps + 1)
    told = estimator().estimate(model, other, gpu, halvings=COARSE)

    assert (Basis.CALIBRATED, None) == (told.basis, told.simulated)
    assert told.evidence.rows >= 19


def test_the_middle_of_several_rows_counts_and_their_ends_are_in_range(own):
    """With the card's own figure only of rows that had it for themselves."""
    keep(own, 10, 30)
    append_row(own, ("h200", *place()), measurement_to_row(measured(20, shared=True, peak_device_bytes=7)))
    found = MeasuredConfigs().find(MODEL, TrainConfig(), H200)
    told = found.ranged("allocated", 20 << 20, facts_of(TrainConfig(), H200))

    assert 3 == found.rows
    assert {"allocated": 20 << 20, "reserved": 40 << 20, "device": 30 << 20} == {
        name: peak.value for name, peak in found.peaks.items()
    }
    assert told.low <= 10 << 20 < 30 << 20 <= told.high
    assert "measured: 3 rows of this config on this card" == found.evidence.text


def place():
    """Environment and model of the rows that nobody measured."""
    row = measured()
    return row.environment, row.model


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.OOM, "reason": "out of memory"},
        {"cap_bytes": 1 << 30},
        {"config": TrainConfig(micro_batch=2)},
        {"peak_reserved_bytes": None},
    ],
)
def test_what_is_no_measurement_of_the_whole_config_does_not_count(own, changes):
    """It ran out, had a cap, was another config, or nobody could read it."""
    environment_folder(own, "h200", FACTS)
    append_row(own, ("h200", *place()), measurement_to_row(measured(1, **changes)))

    assert None is MeasuredConfigs().find(MODEL, TrainConfig(), H200)


def test_a_row_of_another_first_version_does_not_count(own, monkeypatch):
    """Torch 3 may allocate otherwise; a package that is missing on one side tells nothing."""
    keep(own, 1)
    versions = {"torch": "3.0.0"}
    monkeypatch.setattr(module, "installed_version", lambda name: versions.get(name, "absent"))
    assert None is MeasuredConfigs().find(MODEL, TrainConfig(), H200)

    versions["torch"] = "2.99"
    assert 1 == MeasuredConfigs().find(MODEL, TrainConfig(), H200).rows


def test_a_withdrawn_row_does_not_count(own):
    """It was wrong."""
    ids, _ = keep(own, 1)
    withdraw_row(own, ids[0], "another process used the card")

    assert None is MeasuredConfigs().find(MODEL, TrainConfig(), H200)


def test_a_config_json_of_that_name_is_another_model(own):
    """Rows go by the catalog's facts."""
    keep(own, 1)
    changed = replace(MODEL, config=MODEL.config | {"num_hidden_layers": 4})

    assert None is MeasuredConfigs().find(changed, TrainConfig(), H200)
    assert None is MeasuredConfigs().find(replace(MODEL, name="mine"), TrainConfig(), H200)
    assert None is MeasuredConfigs().find(MODEL, TrainConfig(), None)


def test_rows_of_one_model_are_read_without_the_others(own):
    """A file that can't be read stops nobody who did not ask for it."""
    _, path = keep(own, 1, 2)
    path.with_name("qwen2.5-7b.jsonl").write_text("{broken\n")

    assert 2 == len(list(rows_of("h200", "llama-3.2-1b")))
    assert [] == list(rows_of("h200", "llama-3.1-8b"))
