"""Paged optimizers: their states lie beside the allocator, where NVML counts them."""

import pytest
from simulate_parts import facts, traced

from advisor.catalog.assumed import assumed_for
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model, model_from_config
from advisor.estimate_rows import read_question
from advisor.profiles.folders import profiles_folder
from advisor.profiles.record import Outcome
from advisor.profiles.store import read_rows
from advisor.records import ByteInterval, Method, TrainConfig
from advisor.residuals.ranges import with_managed
from advisor.units import GIB

H100 = find_gpu("h100-80gb-sxm")[0]
FULL = TrainConfig(method=Method.FULL, optimizer="paged_adamw_8bit")


def test_managed_states_are_those_of_large_weights_in_every_layer():
    """bitsandbytes pages from 1e5 elements on; an embedding has 32-bit states, all else 8-bit ones, two of each."""
    vocabulary, layer = 5003 * 256, 3 * 256 * 704
    tape = traced(facts(num_hidden_layers=8), FULL)

    assert tape.layers > tape.traced_layers
    assert 2 * (4 * vocabulary + vocabulary + 8 * layer) == tape.managed_bytes


def test_a_usual_optimizer_manages_nothing():
    assert 0 == traced(facts(num_hidden_layers=2), TrainConfig(optimizer="adamw_8bit")).managed_bytes


def test_managed_states_are_on_the_card_as_long_as_there_is_room():
    """Beyond the board the driver keeps them with the host; what the allocator holds stays."""
    board = H100.board_bytes
    held = ByteInterval(value=10 * GIB, low=9 * GIB, high=board - GIB)

    more = with_managed(held, 2 * GIB, H100)

    assert (12 * GIB, 11 * GIB, board) == (more.value, more.low, more.high)


def test_the_estimate_counts_them_beside_what_is_reserved(estimator):
    model = model_from_config(facts(), "tiny")[0]
    estimate = estimator.estimate(model, FULL, H100)
    managed = estimate.peak_device_bytes.value - estimate.peak_reserved_bytes.value
    managed -= H100.context_bytes + H100.driver_bytes

    assert 2 * (4 * 5003 * 256 + 5003 * 256 + 8 * 3 * 256 * 704) == managed


def test_nvml_saw_what_is_predicted(estimator):
    """Every measured row that had the whole card: within 1.5 %, where without managed memory it would be 30 % low."""
    rows = [
        row
        for row in read_rows(profiles_folder())
        if row.outcome is Outcome.OK
        and row.config.optimizer.startswith("paged")
        and row.config.method is Method.FULL
        and row.peak_device_bytes
        and row.cap_bytes is None
    ]

    assert rows
    for row in rows:
        told = estimator.simulated(find_model(row.model)[0], row.config, find_gpu(row.card)[0])
        assert abs(told.peak_device_bytes.value / row.peak_device_bytes - 1) < 0.015
        assert row.peak_device_bytes > 1.4 * (row.peak_reserved_bytes + H100.context_bytes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"model": "8B", "precision": "int8"}', "no outlier columns"),
        ('{"model": "8B", "optimizer": "paged_adamw_32bit"}', "as long as there is room"),
    ],
)
def test_what_is_assumed_is_said_of_a_row(row, said):
    """`advisor estimate` and `explain` print the assumptions of their question."""
    question = read_question(row)

    assert any(said in text for text in question.assumptions)
    assert set(assumed_for(question.config)) <= set(question.assumptions)
    assert () == assumed_for(TrainConfig())
