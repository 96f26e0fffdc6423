"""On a real card: what a run measures there, and that evaluating first does not disturb it."""

from dataclasses import replace

import pytest
import torch
from train_parts import plan_for, run, texts, write_rows

from advisor.demo import HELDOUT_FILE, MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.records import Precision
from advisor.train.card import release_cache
from advisor.train.keeper import Keeper

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
]
PLAN = plan_for(MODEL_FOLDER, precision=Precision.NF4, micro_batch=8, sequence_length=256)
STEPS = 5
# A block is handed out whole where less than 1 MiB would be left of it, and what was freed before decides which blocks
# there are: the same tensors count for a little more or less.
_REMAINDERS_BYTES = 4 << 20
_SEGMENT_BYTES = 20 << 20  # what torch's allocator takes from the card at least, for more than 1 MiB


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """So few examples that none is held out unasked."""
    return write_rows(tmp_path_factory.mktemp("card") / "train.jsonl", texts(19))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """The plan on the whole card, as most tests compare with it."""
    return run(PLAN, tmp_path_factory.mktemp("whole") / "out", data, MODEL_FOLDER, max_steps=STEPS)


@pytest.fixture(autouse=True)
def _clean_card(whole):
    """No test sees what another left on the card, nor its cap, which is the process's."""
    release_cache(torch.device("cuda", 0))
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_evaluating_first_does_not_disturb_the_measured_peaks(tmp_path, data, whole):
    """The training allocates as if nobody had evaluated; the evaluation's memory is its own phase's."""
    alone = whole.measured
    both = run(
        PLAN, tmp_path / "both", data, MODEL_FOLDER, max_steps=STEPS, evaluation_data=HELDOUT_FILE
    ).measured

    for phase in ("load", "forward", "backward", "optimizer"):
        one, other = alone["phases"][phase], both["phases"][phase]
        assert one["peak_allocated_bytes"] == other["peak_allocated_bytes"]
        # Where the driver puts a segment is its own affair, and so is how the last one is filled.
        assert one["peak_reserved_bytes"] == pytest.approx(other["peak_reserved_bytes"], abs=_SEGMENT_BYTES)
    assert 0 < alone["static_bytes"] == both["static_bytes"]
    assert both["phases"]["evaluate"]["peak_allocated_bytes"] > both["static_bytes"] + _SEGMENT_BYTES
    assert both["peak_device_bytes"] > both["peak_reserved_bytes"] >= both["peak_allocated_bytes"]


def test_a_card_too_small_is_an_answer(tmp_path, data):
    """An emulated card on which nothing runs, and the error says of what."""
    with pytest.raises(AdvisorError, match="ran out of memory") as caught:
        run(PLAN, tmp_path / "out", data, MODEL_FOLDER, cap_bytes=20 << 20, guard=False)

    assert "the cap is 0.02 GiB" in caught.value.why
    assert ExitCode.NO is caught.value.exit_code


def test_memory_that_really_runs_out_is_fallen_back_from(tmp_path, data, whole):
    """The allocator's own error, in the rehearsal: the run ends with less at a time, and little is off."""
    cap = (
        whole.measured["static_bytes"]
        + (whole.measured["peak_allocated_bytes"] - whole.measured["static_bytes"]) // 2
    )
    fell = run(PLAN, tmp_path / "fell", data, MODEL_FOLDER, max_steps=STEPS, cap_bytes=cap, guard=False)

    assert fell.changes
    assert all(change["during"] == "rehearsal" for change in fell.changes)
    assert fell.config.micro_batch < PLAN.config.micro_batch
    assert fell.config.effective_batch == PLAN.config.effective_batch
    assert fell.measured["peak_reserved_bytes"] <= cap
    assert fell.learned.losses == pytest.approx(whole.learned.losses, rel=2e-2)


def test_memory_that_others_take_on_the_way_is_fallen_back_from(tmp_path, data, whole, monkeypatch):
    """Another tenant comes after the second step; the third is done again with less, from where it was."""
    tenant = []
    plain = Keeper.on_step_end

    def comes(self, args, state, control, **given):
        plain(self, args, state, control, **given)
        if state.global_step == 2 and not tenant:
            torch.cuda.empty_cache()
            room = whole.measured["peak_reserved_bytes"] - torch.cuda.memory_reserved()
            torch.cuda.set_per_process_memory_fraction(
                (torch.cuda.memory_reserved() + room // 3) / torch.cuda.get_device_properties(0).total_memory
            )
            tenant.append(1)

    monkeypatch.setattr(Keeper, "on_step_end", comes)
    fell = run(PLAN, tmp_path / "fell", data, MODEL_FOLDER, max_steps=STEPS)

    first = fell.changes[0]
    assert (first["during"], first["at_step"], first["from_step"]) == ("training", 3, 2)
    assert len(fell.learned.losses) == STEPS
    assert fell.learned.losses == pytest.approx(whole.learned.losses, rel=2e-2)


@pytest.mark.parametrize("optimizer", [PLAN.config.optimizer, "paged_adamw_8bit"])
def test_the_rehearsal_peaks_as_the_run_does(tmp_path, data, whole, optimizer):
    """And leaves the run's own peaks and losses as they are without it."""
    planned = replace(PLAN, config=replace(PLAN.config, optimizer=optimizer))
    asked = {"data": data, "model": MODEL_FOLDER, "max_steps": STEPS}
    with_it = whole if planned == PLAN else run(planned, tmp_path / "with", **asked)
    release_cache(torch.device("cuda", 0))
    without = run(planned, tmp_path / "without", **asked, rehearse=False)

    for phase in ("forward", "backward"):
        assert with_it.measured["phases"][phase]["peak_allocated_bytes"] == pytest.approx(
            without.measured["phases"][phase]["peak_allocated_bytes"], abs=_REMAINDERS_BYTES
        )
        assert with_it.rehearsal["phases"][phase]["peak_allocated_bytes"] == pytest.approx(
            without.measured["phases"][phase]["peak_allocated_bytes"], rel=2e-2
        )
    assert with_it.learned.losses == pytest.approx(without.learned.losses, rel=1e-3)
