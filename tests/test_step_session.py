"""The session: one model, trained on the rows in their order, silent on stdout, its phases marked."""

import pytest
import torch
from train_parts import one_thread

from advisor.demo import MODEL_FOLDER
from advisor.records import Loss, TrainConfig
from advisor.step.data import random_blocks
from advisor.step.observe import Phase
from advisor.step.session import build
from advisor.step.trainer import MarkedSftTrainer, MarkedTrainer, RunOptions
from advisor.step.weights import Checkpoint

KINDS = {Loss.STOCK: MarkedTrainer, Loss.CHUNKED: MarkedSftTrainer}


class Marks:
    """An observer that writes down what it is told."""

    def __init__(self):
        self.seen = []

    def mark(self, phase):
        """A phase begins."""
        self.seen.append(phase)

    def weight(self, name):
        """A weight is loaded."""

    def step_ended(self):
        """A step is complete."""
        self.ended = getattr(self, "ended", 0) + 1


@pytest.fixture(params=KINDS)
def session(request, tmp_path, monkeypatch):
    """Trained two steps of two micro-batches on 8 rows, evaluated on 4; `rows` are those it saw."""
    kind, rows = KINDS[request.param], []
    plain = kind.compute_loss

    def watched(self, model, inputs, *args, **kwargs):
        if model.training:
            rows.extend(inputs["input_ids"].tolist())
        return plain(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(kind, "compute_loss", watched)
    data = random_blocks(rows=8, sequence_length=16, vocab=4096)
    made = build(
        Checkpoint(str(MODEL_FOLDER)),
        TrainConfig(micro_batch=2, sequence_length=16, accumulation_steps=2, loss=request.param),
        RunOptions(output_dir=str(tmp_path), max_steps=2, save_steps=2),
        train_data=data,
        evaluation_data=data.select(range(4)),
        device=torch.device("cpu"),
        observer=Marks(),
    )
    with one_thread():
        made.train()
    return made, rows


def test_the_rows_are_trained_on_in_their_order(session):
    """Whoever made the data has shuffled it; the trainer does not again."""
    made, rows = session

    assert rows == made.data["input_ids"][:]


def test_the_trainers_model_is_the_sessions(session):
    """What is saved and asked for text is what was trained."""
    made, _ = session

    assert made.trainer.model is made.model


def test_each_phase_is_marked_in_its_place(session):
    """A step is forward, backward, optimizer for each micro-batch; then the checkpoint, then the evaluation."""
    made, _ = session
    with one_thread():
        loss = made.evaluate()
    micro_batch = [Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER]

    assert made.observer.seen == [Phase.LOAD, Phase.PREPARE, *micro_batch * 4, Phase.SAVE, Phase.EVALUATE]
    assert made.observer.ended == 2
    assert 0 < loss < 20


def test_stdout_is_left_to_the_results(capsys, session):
    """transformers' trainer would print its logs there."""
    assert capsys.readouterr().out == ""
