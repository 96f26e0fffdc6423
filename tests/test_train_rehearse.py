"""The step is tried before the first real one, and the run is as if it had not been."""

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from datasets import Dataset
from train_parts import ESTIMATE, plan_for, run

from advisor.records import Loss, Method, Precision, TrainConfig
from advisor.step.trainer import MarkedSftTrainer, MarkedTrainer
from advisor.train.rehearse import compared, longest_blocks

CASES = {
    "dropout": {"lora_dropout": 0.5},
    "chunked": {"loss": Loss.CHUNKED},
    "8-bit states": {"optimizer": "adamw_8bit", "precision": Precision.NF4},
    "factored": {"optimizer": "adafactor", "method": Method.FULL, "precision": Precision.FP32},
    "momentum": {"optimizer": "sgd", "method": Method.LAST_LAYERS, "trainable_layers": 1},
}


@pytest.fixture
def passes(monkeypatch):
    """How many training passes there were."""
    seen = []
    for kind in (MarkedTrainer, MarkedSftTrainer):
        plain = kind.training_step

        def watched(self, *args, plain=plain, **kwargs):
            seen.append(1)
            return plain(self, *args, **kwargs)

        monkeypatch.setattr(kind, "training_step", watched)
    return seen


@pytest.mark.parametrize("case", CASES)
def test_the_rehearsal_leaves_no_trace(tmp_path, tiny, data, passes, case):
    """Losses to the bit, with dropout's random numbers and every kind of optimizer state."""
    planned = plan_for(tiny, **CASES[case])
    wild = {"learning_rate": 1e-2, "warmup_steps": 0}
    with_it = run(planned, tmp_path / "with", data, tiny, **wild)
    count = len(passes)
    without = run(planned, tmp_path / "without", data, tiny, rehearse=False, **wild)

    assert (count, len(passes) - count) == (2 * 2 + 3 * 2, 3 * 2)
    assert with_it.learned.losses == without.learned.losses
    assert with_it.learned.evaluation_after == without.learned.evaluation_after
    assert len(set(with_it.learned.losses)) == 3
    assert len(with_it.rehearsal["step_seconds"]) == 2
    assert without.rehearsal is None
    assert any(note.startswith("rehearsed on the longest batch") for note in with_it.notes)


@pytest.mark.parametrize("loss", [Loss.STOCK, Loss.CHUNKED])
def test_an_evaluation_on_the_way_is_rehearsed_too(tmp_path, tiny, data, monkeypatch, loss):
    """One batch, beside the optimizer's states; the run's own evaluations are as if it had not been."""
    loop, seen = MarkedTrainer.evaluation_loop, []

    def watched(self, dataloader, description, *args, **kwargs):
        seen.append((description, len(dataloader), bool(self.optimizer and self.optimizer.state)))
        return loop(self, dataloader, description, *args, **kwargs)

    for kind in (MarkedTrainer, MarkedSftTrainer):
        monkeypatch.setattr(kind, "evaluation_loop", watched)
    planned = plan_for(tiny, loss=loss, lora_dropout=0.5)
    with_it = run(planned, tmp_path / "with", data, tiny, evaluate_steps=1)
    without = run(planned, tmp_path / "without", data, tiny, evaluate_steps=1, rehearse=False)

    assert [call[1:] for call in seen if call[0] == "Rehearsal"] == [(1, True)]
    assert len(with_it.learned.evaluations) == 3
    assert with_it.learned.evaluations == without.learned.evaluations
    assert with_it.learned.losses == without.learned.losses


def test_an_optimizer_that_moves_at_a_rate_of_zero_is_found_out(tmp_path, tiny, data, monkeypatch):
    """Then everything is loaded anew, without a rehearsal, and said so."""
    plain = AcceleratedOptimizer.step

    def nudge(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        if self.optimizer.param_groups[0]["lr"] == 0:
            with torch.no_grad():
                next(p for p in self.optimizer.param_groups[0]["params"]).add_(1e-3)

    planned = plan_for(tiny)
    expected = run(planned, tmp_path / "plain", data, tiny, rehearse=False, warmup_steps=0)
    monkeypatch.setattr(AcceleratedOptimizer, "step", nudge)
    found = run(planned, tmp_path / "nudged", data, tiny, warmup_steps=0)

    assert any("could not be undone" in note for note in found.notes)
    assert expected.learned.losses == found.learned.losses


def test_the_longest_batch_is_the_one_with_most_tokens_that_count():
    """Blocks are of one length, and the chunked loss takes memory for what it counts."""
    labels = [[-100] * (8 - n) + [1] * n for n in (3, 8, 1, 5, 7, 2)]
    blocks = Dataset.from_dict({"input_ids": [[n] * 8 for n in range(6)], "labels": labels})

    assert longest_blocks(blocks, 2, 3)["input_ids"][:] == [[n] * 8 for n in (1, 4, 3, 0)]
    assert len(longest_blocks(blocks, 2, 1)) == 2
    assert len(longest_blocks(blocks.remove_columns("labels"), 2, 8)) == 4


def test_the_rehearsal_is_told_beside_the_plan(tiny):
    """By phase where the plan has one; loudly where it took more than the plan's range."""
    planned = plan_for(tiny)
    figures = {"peak_allocated_bytes": 200_000_000, "peak_reserved_bytes": 255_000_000, "step_seconds": [0.5]}
    figures |= {
        "phases": {
            "forward": {"peak_allocated_bytes": 180_000_000},
            "backward": {"peak_allocated_bytes": 200_000_000},
        }
    }
    told = compared(figures, planned, planned.config)
    more = compared(figures | {"peak_reserved_bytes": 300_000_000}, planned, planned.config)
    other = compared(figures, planned, TrainConfig())

    high = ESTIMATE["peak_reserved_bytes"]["high"]
    assert 255_000_000 < high < 300_000_000
    assert told == (
        "rehearsed on the longest batch: 0.19 GiB allocated, predicted 0.19 GiB; "
        "0.24 GiB reserved, predicted 0.23 GiB; in forward 0.17 GiB, predicted 0.19 GiB"
    )
    assert more.startswith("WARNING: more than predicted: ")
    assert "predicted" not in other  # the plan says nothing of it
