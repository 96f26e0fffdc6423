"""Evaluations on the way, and when they end a run."""

import pytest
from safetensors.torch import load_file
from train_parts import plan_for, run, write_rows

from advisor.records import Method, Precision
from advisor.train.keeper import best_step, is_over
from advisor.train.verify import verification_to_json, verify

WILD = {"learning_rate": 0.3, "warmup_steps": 0, "max_steps": 12, "evaluate_steps": 1, "patience": 2}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Text that has nothing in common with the data: the more is learned of these, the worse it is told."""
    words = [{"text": " ".join(chr(97 + (n * k) % 26) * 3 for k in range(1, 30))} for n in range(1, 9)]
    return write_rows(tmp_path_factory.mktemp("other") / "other.jsonl", words)


@pytest.mark.parametrize(
    ("losses", "patience", "over"),
    [
        ((), 1, False),
        ((3.0,), 1, False),
        ((3.0, 2.0), 1, False),
        ((3.0, 2.0, 2.0), 1, True),  # no better is not better
        ((3.0, 2.0, 2.5), 2, False),
        ((3.0, 2.0, 2.5, 2.1), 2, True),
        ((3.0, 2.0, 2.5, 1.9), 2, False),
        ((3.0, 4.0, 5.0), 0, False),
    ],
)
def test_patience_counts_evaluations_that_are_no_better(losses, patience, over):
    """From the best one on."""
    evaluations = [(10 * n, loss) for n, loss in enumerate(losses, 1)]

    assert over is is_over(evaluations, patience)
    if evaluations:
        assert min(losses) == dict(evaluations)[best_step(evaluations)]


@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
def test_a_run_that_gets_no_better_stops_and_keeps_its_best(tmp_path, tiny, data, other, method):
    """What is saved is what was there at the best evaluation, and not what it stopped with."""
    planned = plan_for(tiny, method=method, precision=Precision.FP32)
    asked = WILD | {"learning_rate": 0.1 if method is Method.LORA else 0.02, "evaluation_data": other}
    report = run(planned, tmp_path / "out", data, tiny, **asked)
    learned = report.learned
    name = "adapter/adapter_model" if method is Method.LORA else "model/model"
    kept = load_file(tmp_path / "out" / f"{name}.safetensors")

    assert learned.steps < learned.planned_steps == 12
    assert learned.steps == learned.best_step + 2
    assert learned.evaluation_after == dict(learned.evaluations)[learned.best_step]
    assert learned.evaluation_after == min(loss for _, loss in learned.evaluations)
    last = run(planned, tmp_path / "last", data, tiny, **asked | {"patience": 0})
    assert last.learned.best_step is None
    assert last.learned.losses[: learned.steps] == learned.losses
    moved = load_file(tmp_path / "last" / f"{name}.safetensors")
    assert any(not kept[tensor].equal(moved[tensor]) for tensor in kept)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_run_is_verified_from_its_files(tmp_path, tiny, data):
    """The same table, and the weights to the bit; a changed weight is seen."""
    run(plan_for(tiny), tmp_path / "out", data, tiny)
    document = verification_to_json(verify(tmp_path / "out"))
    file = tmp_path / "out" / "adapter" / "adapter_model.safetensors"

    assert document["holds"]
    assert document["torn"] is None
    assert {"peak allocated", "all steps"} <= {row["label"] for row in document["figures"]}
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    made = verify(tmp_path / "out")
    assert not made.holds
    assert "is not what was written" in made.torn


def test_a_run_that_was_killed_after_it_had_stopped_ends_there(tmp_path, tiny, data, other):
    """It does not train on, and saves the same best weights."""
    planned = plan_for(tiny, precision=Precision.FP32)
    asked = WILD | {"learning_rate": 0.1, "evaluation_data": other, "save_steps": 1}
    first = run(planned, tmp_path / "out", data, tiny, **asked)
    file = tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    kept = file.read_bytes()
    (tmp_path / "out" / "run.json").unlink()
    file.unlink()
    again = run(planned, tmp_path / "out", data, tiny, **asked)

    assert again.learned.resumed_at_step == first.learned.steps < 12
    assert again.learned.losses == first.learned.losses
    assert again.learned.evaluations == first.learned.evaluations
    assert again.learned.best_step == first.learned.best_step
    assert kept == file.read_bytes()
