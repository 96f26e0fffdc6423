"""Where memory runs out the run goes on with less at a time: the same data, the same steps, and a word on it."""

import json
from dataclasses import replace

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from train_parts import plan_for, run, texts, write_rows

from advisor.errors import AdvisorError, ExitCode
from advisor.plan.document import Alternative
from advisor.records import Checkpointing, Loss, Precision, Reason
from advisor.step.trainer import MarkedSftTrainer, MarkedTrainer
from advisor.train.fallback import Change, gentler, trains_the_same

STEPS = 6
WILD = {"learning_rate": 1e-2, "warmup_steps": 0, "max_steps": STEPS}
SHAPE = {"micro_batch": 4, "accumulation_steps": 2}
MESSAGE = "CUDA out of memory. Tried to allocate 96.00 MiB. GPU 0 has a total capacity of 8.00 GiB"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Enough text for six different steps."""
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", texts(120))


class SmallCard:
    """Runs out as a card would: where more than so many sequences are trained on at once, from a step on.

    `rows` are the batches of whole steps, in order.
    """

    def __init__(self, most, step, micro_batch=1):
        self.most, self.step, self.micro_batch = most, step, micro_batch
        self.rows, self.times = [], 0
        self._passes = 0

    def watch(self, plain):
        def compute_loss(trainer, model, inputs, *args, **kwargs):
            loss = plain(
                trainer, model, inputs, *args, **kwargs
            )  # its activations are alive when it runs out
            if model.training and trainer.state.global_step + 1 >= self.step:
                self._passes = self._passes % self.micro_batch + 1
                if len(inputs["input_ids"]) > self.most and self._passes == self.micro_batch:
                    self.times += 1
                    raise torch.OutOfMemoryError(MESSAGE)
            return loss

        return compute_loss


@pytest.fixture
def card(monkeypatch):
    """A card as small as the test says; none but what it says runs out."""

    def make(**limits):
        small = SmallCard(**limits)
        for kind in (MarkedTrainer, MarkedSftTrainer):
            monkeypatch.setattr(kind, "compute_loss", small.watch(kind.compute_loss))
        return small

    return make


@pytest.fixture
def trained(monkeypatch):
    """The rows that real steps were made of, by step."""
    seen = {}
    for kind in (MarkedTrainer, MarkedSftTrainer):
        plain = kind.training_step

        def watched(self, model, inputs, *args, plain=plain, **kwargs):
            loss = plain(self, model, inputs, *args, **kwargs)
            if self.optimizer.param_groups[0]["lr"] > 0:
                seen.setdefault(self.state.global_step + 1, []).extend(inputs["input_ids"].tolist())
            return loss

        monkeypatch.setattr(kind, "training_step", watched)
    return seen


def test_a_rehearsal_that_runs_out_costs_nothing(tmp_path, tiny, data, card):
    """The run is that of the smaller micro-batch from the first step on, to the bit."""
    gentle = plan_for(tiny, micro_batch=1, accumulation_steps=8)
    expected = run(gentle, tmp_path / "gentle", data, tiny, **WILD)
    small = card(most=1, step=1)
    planned = plan_for(tiny, **SHAPE)
    report = run(planned, tmp_path / "fell", data, tiny, **WILD)

    assert small.times == 2  # 4 at a time, and 2
    assert expected.learned.losses == report.learned.losses
    assert report.config == gentle.config
    assert [change["during"] for change in report.changes] == ["rehearsal", "rehearsal"]


@pytest.mark.parametrize(("case", "micro_batch"), [("stock", 2), ("chunked", 1), ("nf4", 2)])
def test_a_step_that_runs_out_is_done_again_with_less(tmp_path, tiny, data, card, trained, micro_batch, case):
    """As if the run had been stopped before that step and gone on with the smaller micro-batch, to the bit."""
    kind = {"chunked": {"loss": Loss.CHUNKED}, "nf4": {"precision": Precision.NF4}}.get(case, {})
    planned = plan_for(tiny, **SHAPE, **kind)
    whole = run(planned, tmp_path / "whole", data, tiny, **WILD)
    order = {step: list(rows) for step, rows in trained.items()}
    trained.clear()
    small = card(most=2, step=4, micro_batch=micro_batch)
    fell = run(planned, tmp_path / "fell", data, tiny, **WILD)

    assert small.times == 1
    assert trained == {
        **order,
        4: order[4][: 4 * (micro_batch - 1)] + order[4],
    }  # what ran out, and all of it
    assert fell.learned.losses[:3] == whole.learned.losses[:3]
    assert fell.learned.losses == pytest.approx(whole.learned.losses, rel=2e-2)
    assert len(fell.learned.losses) == STEPS
    (change,) = fell.changes
    assert (change["at_step"], change["from_step"]) == (4, 3)
    assert change["changed"] == {"micro_batch": [4, 2], "accumulation_steps": [2, 4]}


def test_it_is_the_run_that_a_smaller_plan_would_have_gone_on_with(tmp_path, tiny, data, card, monkeypatch):
    """Stopped after step 3 by hand and gone on with the smaller plan, against a fallback in step 4."""
    planned = plan_for(tiny, **SHAPE)
    gentle = replace(planned, config=replace(planned.config, micro_batch=2, accumulation_steps=4))
    stop = card(most=0, step=4)
    with monkeypatch.context() as patch:
        patch.setattr("advisor.train.run.gentler", lambda *_, **__: None)
        with pytest.raises(AdvisorError, match="ran out of memory"):
            run(planned, tmp_path / "by hand", data, tiny, **WILD)
    stop.most = 99
    by_hand = run(gentle, tmp_path / "by hand", data, tiny, **WILD)
    stop.most = 2
    fell = run(planned, tmp_path / "fell", data, tiny, **WILD)

    assert by_hand.learned.resumed_at_step == 3
    assert by_hand.learned.losses == fell.learned.losses
    assert by_hand.learned.evaluation_after == fell.learned.evaluation_after


def test_an_update_that_ran_out_half_way_is_not_gone_on_from(tmp_path, tiny, data, trained, monkeypatch):
    """Some weights have moved, others not: the last checkpoint is the last good step."""
    planned = plan_for(tiny, **SHAPE)
    whole = run(planned, tmp_path / "whole", data, tiny, **WILD)
    plain = AcceleratedOptimizer.step
    done = []

    def half(self, *args, **kwargs):
        if self.optimizer.param_groups[0]["lr"] > 0:
            done.append(1)
            if len(done) == 4:
                with torch.no_grad():
                    self.optimizer.param_groups[0]["params"][0].add_(1.0)
                raise torch.OutOfMemoryError(MESSAGE)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(AcceleratedOptimizer, "step", half)
    fell = run(planned, tmp_path / "fell", data, tiny, save_steps=2, **WILD)

    assert [(c["at_step"], c["from_step"]) for c in fell.changes] == [(4, 2)]
    assert fell.learned.losses == pytest.approx(whole.learned.losses, rel=2e-2)


def test_nothing_is_changed_in_silence(tmp_path, tiny, data, card):
    """On the terminal, in the notes, and in run.json: when, why, from what, to what."""
    import io

    from rich.console import Console

    from advisor.train.request import RunRequest
    from advisor.train.run import run_plan

    card(most=2, step=3)
    screen = Console(file=io.StringIO(), width=400)
    asked = RunRequest(data=data, output=tmp_path / "out", model=str(tiny), **WILD)
    run_plan(plan_for(tiny, **SHAPE), asked, screen)
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    said = (
        "step 3 ran out of memory (96.00 MiB more were asked for): micro-batch 4 -> 2, accumulation 2 -> 4; "
        "goes on after step 2. The effective batch of 8, the order of the data, the learning rate and the "
        "optimizer stay"
    )

    assert said in screen.file.getvalue()
    assert f"WARNING: {said}" in document["notes"]
    assert said == document["fallbacks"][0]["text"]
    assert document["config"]["micro_batch"] == 4
    assert document["config_at_end"]["micro_batch"] == 2
    assert document["config_at_end"]["effective_batch"] == document["config"]["effective_batch"]
    assert not (tmp_path / "out" / "checkpoints").exists()  # its work is done


def test_where_nothing_is_left_the_last_good_step_is_kept(tmp_path, tiny, data, card):
    """The answer is no, all that was tried is said, and a plan that fits goes on from there."""
    small = card(most=0, step=3)
    planned = plan_for(tiny, micro_batch=2, accumulation_steps=1)
    with pytest.raises(AdvisorError, match="ran out of memory") as caught:
        run(planned, tmp_path, data, tiny, **WILD)

    assert ExitCode.NO is caught.value.exit_code
    assert "3 gentler configurations ran out, too" in caught.value.why  # 1 at a time, chunked, checkpointed
    assert small.times == 4
    assert [path.name for path in (tmp_path / "checkpoints").glob("c*")] == ["checkpoint-2"]

    small.most = 99
    report = run(planned, tmp_path, data, tiny, **WILD)
    assert report.learned.resumed_at_step == 2
    assert len(report.learned.losses) == STEPS


def test_an_evaluation_that_runs_out_takes_less_at_a_time(tmp_path, tiny, data, monkeypatch):
    """It has no gradient to keep the same, and no reason to lose the training."""
    plain = MarkedTrainer.prediction_step

    def small(self, model, inputs, *args, **kwargs):
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError(MESSAGE)
        return plain(self, model, inputs, *args, **kwargs)

    planned = plan_for(tiny)
    expected = run(planned, tmp_path / "plain", data, tiny)
    monkeypatch.setattr(MarkedTrainer, "prediction_step", small)
    report = run(planned, tmp_path / "small", data, tiny)

    assert report.learned.evaluation_after == pytest.approx(expected.learned.evaluation_after, rel=1e-3)
    assert any("the evaluation ran out of memory with 2 blocks" in note for note in report.notes)


def rungs(planned):
    """Every config that would be tried."""
    tried = [planned.config]
    while (config := gentler(planned, tried[-1], tried, on_card=True)) is not None:
        tried.append(config)
    return tried[1:]


def test_the_ladder_goes_down_by_what_costs_least(tiny):
    """Smaller micro-batches that divide the batch, the chunked loss, checkpointing; then there is no more."""
    planned = plan_for(tiny, micro_batch=6, accumulation_steps=2)
    steps = rungs(planned)

    assert [config.micro_batch for config in steps] == [4, 3, 2, 1, 1, 1, 1]
    assert all(config.effective_batch == 12 for config in steps)
    assert [config.loss for config in steps[-3:]] == [Loss.CHUNKED] * 3
    assert [config.checkpointing for config in steps[-3:]] == [
        Checkpointing.NONE,
        Checkpointing.NON_REENTRANT,
        Checkpointing.OFFLOADED,
    ]
    assert all(trains_the_same(planned.config, config) for config in steps)


def test_where_some_layers_are_checkpointed_all_are_at_the_end(tiny):
    """Before their inputs leave the card; told as a change though the default is not written."""
    kind = {"checkpointing": Checkpointing.NON_REENTRANT, "checkpointed_layers": 1, "loss": Loss.CHUNKED}
    planned = plan_for(tiny, micro_batch=1, **kind)
    last = rungs(planned)[0]
    change = Change(
        during="training", at_step=2, from_step=1, why="it did", before=planned.config, after=last
    )

    assert last.checkpointed_layers is None
    assert change.changed == {"checkpointed_layers": (1, None)}
    assert trains_the_same(planned.config, last)


def test_int8_is_checkpointed_as_the_plan_would(tiny):
    """Its non-reentrant kind keeps what it should recompute."""
    assert rungs(plan_for(tiny, precision=Precision.INT8))[-1].checkpointing is Checkpointing.REENTRANT


def test_the_plans_own_alternatives_come_first(tiny):
    """Of those that train the same and need less, the nearest; never another precision or batch."""
    planned = plan_for(tiny, micro_batch=4)
    config = planned.config

    def other(needed, *, bound=False, **changes):
        reason = Reason(code="not-preferred", text="")
        changed = replace(config, **changes)
        return Alternative(label="", config=changed, needed_bytes=needed, lower_bound=bound, reason=reason)

    checkpointed = other(150_000_000, checkpointing=Checkpointing.NON_REENTRANT)
    planned = replace(
        planned,
        alternatives=(
            other(240_000_000, precision=Precision.NF4),
            other(245_000_000, micro_batch=2),  # half the batch
            other(300_000_000, loss=Loss.CHUNKED),  # needs more
            other(200_000_000, bound=True, checkpointing=Checkpointing.REENTRANT),  # nobody knows how much
            other(100_000_000, micro_batch=1, accumulation_steps=8),
            checkpointed,
        ),
    )

    assert rungs(planned)[0] == checkpointed.config
    assert rungs(planned)[1].micro_batch == 1
