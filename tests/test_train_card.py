"""On a real card: what a run measures there, and that evaluating first does not disturb it."""

import pytest
import torch
from train_parts import plan_for, run, texts, write_rows

from advisor.demo import HELDOUT_FILE, MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.records import Precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
]
PLAN = plan_for(MODEL_FOLDER, precision=Precision.NF4, micro_batch=8, sequence_length=256)


@pytest.fixture
def data(tmp_path):
    """So few examples that none is held out unasked."""
    return write_rows(tmp_path / "train.jsonl", texts(19))


def test_evaluating_first_does_not_disturb_the_measured_peaks(tmp_path, data):
    """The training allocates as if nobody had evaluated; the evaluation's memory is its own phase's."""
    torch.cuda.empty_cache()
    alone = run(PLAN, tmp_path / "alone", data, MODEL_FOLDER).measured
    torch.cuda.empty_cache()
    both = run(PLAN, tmp_path / "both", data, MODEL_FOLDER, evaluation_data=HELDOUT_FILE).measured

    for phase in ("load", "forward", "backward", "optimizer"):
        assert alone["phases"][phase] == both["phases"][phase]
    assert 0 < alone["static_bytes"] == both["static_bytes"]
    assert "evaluate" in both["phases"]
    assert both["peak_device_bytes"] > both["peak_reserved_bytes"] >= both["peak_allocated_bytes"]


def test_a_card_too_small_is_an_answer(tmp_path, data):
    """An emulated card runs out, and the error says of what."""
    try:
        with pytest.raises(AdvisorError, match="ran out of memory") as caught:
            run(PLAN, tmp_path / "out", data, MODEL_FOLDER, cap_bytes=100 << 20, guard=False)
        assert "the cap is 0.10 GiB" in caught.value.why
        assert ExitCode.NO is caught.value.exit_code
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
