"""What an evaluation takes beside training: counted where the run evaluates, told anyway, and of any batch."""

from dataclasses import replace

import pytest
from simulate_parts import facts, traced

from advisor.catalog.models import model_from_config
from advisor.phases import peak_words
from advisor.records import Checkpointing, Loop, Loss, TrainConfig
from advisor.replay.allocated import least_peak_bytes
from advisor.replay.brief import brief
from advisor.replay.evaluation import with_evaluation
from advisor.replay.memory import LATER_STEPS, minimum_reserved_bytes, program, replay
from advisor.replay.shape import Shape
from advisor.tape.store import all_wanted

_MODEL = facts(num_hidden_layers=6)
# Whole logits, and layers that are computed twice: then a larger batch is all that an evaluation needs to take more.
_CONFIG = TrainConfig(
    micro_batch=2, sequence_length=512, loss=Loss.STOCK, checkpointing=Checkpointing.NON_REENTRANT
)
_TINY = 8 << 10  # a batch of token ids, which the next one takes the place of


def _shape(batch):
    return Shape(micro_batch=batch, sequence_length=512, cublas_workspace_bytes=8 << 20)


@pytest.fixture(scope="module")
def tape():
    """Two steps, saving, an evaluation."""
    return brief(traced(_MODEL, _CONFIG))


def test_what_is_not_counted_is_told(tape):
    """The peaks are those of training; each phase has its own."""
    made = program(tape)
    trained = replay(made, _shape(2))
    training_alone = replay(replace(made, requests=made.requests[: made.counted]), _shape(2))

    assert list(trained.phase_allocated_bytes)[-2:] == ["save", "evaluate"]
    assert replace(trained, phase_allocated_bytes=training_alone.phase_allocated_bytes) == training_alone
    assert "evaluate" not in training_alone.phase_allocated_bytes


def test_an_evaluation_in_the_batches_of_training_takes_less_than_it(tape):
    """It holds no layer's activations, and no gradient; so whether it counts makes no difference."""
    made = program(tape)
    without, counted = (replay(each, _shape(2)) for each in (made, replace(made, counted=len(made.requests))))

    assert counted == without
    assert 0 < counted.phase_allocated_bytes["evaluate"] < counted.peak_allocated_bytes
    assert (counted.peak_phase, counted.peak_step) == ("backward", LATER_STEPS)
    assert max(counted.step_allocated_bytes.values()) == counted.peak_allocated_bytes


def test_the_end_of_another_tape_is_the_same_end(tape):
    """Put behind its own training, an evaluation comes out as it was."""
    made = program(tape)
    whole = replay(replace(made, counted=len(made.requests)), _shape(2))
    joined = replay(with_evaluation(made, made, _shape(2)), _shape(2))

    assert abs(whole.phase_allocated_bytes["evaluate"] - joined.phase_allocated_bytes["evaluate"]) <= _TINY
    assert whole.peak_reserved_bytes == joined.peak_reserved_bytes


def test_a_larger_batch_is_what_binds(tape):
    """Trained in twos, evaluated in sixteens: the peak is there, and it is that of a run that trains in sixteens, too."""
    made = program(tape)
    run = with_evaluation(made, made, _shape(16))
    outcome = replay(run, _shape(2))
    in_sixteens = replay(made, _shape(16)).phase_allocated_bytes["evaluate"]

    assert (outcome.peak_phase, outcome.peak_step) == ("evaluate", "")
    assert peak_words(outcome.peak_phase, outcome.peak_step) == "the evaluation"
    assert abs(outcome.peak_allocated_bytes - in_sixteens) <= _TINY
    assert minimum_reserved_bytes(run, _shape(2), outcome, halvings=10) >= outcome.peak_allocated_bytes


def test_the_bound_is_that_of_training(tape):
    """It must never be above a replay, whatever is evaluated."""
    peak = replay(program(tape), _shape(2)).peak_allocated_bytes

    assert 0.95 * peak <= least_peak_bytes(tape, _shape(2)) <= peak


def test_liger_evaluates_without_whole_logits():
    """Left to itself it makes them wherever it does not train."""
    made = program(brief(traced(_MODEL, replace(_CONFIG, loss=Loss.LIGER))))
    phases = replay(made, _shape(2)).phase_allocated_bytes
    logits_bytes = 2 * 512 * _MODEL["vocab_size"] * 2

    assert phases["evaluate"] - phases["save"] < logits_bytes


def test_the_bare_loop_evaluates_nothing():
    """There is no trainer that would."""
    bare = replay(program(brief(traced(_MODEL, replace(_CONFIG, loop=Loop.BARE)))), _shape(2))

    assert list(bare.phase_allocated_bytes)[-1] == "save"


@pytest.mark.parametrize(("batch", "tapes"), [(None, 1), (2, 1), (16, 1), (1, 2)])
def test_an_estimate_counts_what_the_config_evaluates(estimator, batch, tapes):
    """Batches of another kind, such as one sequence alone, have a tape of their own."""
    model = model_from_config(_MODEL, "small")[0]
    config = replace(_CONFIG, evaluates=True, evaluation_batch=batch)
    estimate, trained = (estimator.estimate(model, each, None) for each in (config, _CONFIG))

    assert len(all_wanted(model, config, None)) == tapes
    assert dict(trained.phases)["save"] == dict(estimate.phases)["save"]
    assert (estimate.peak_phase == "evaluate") == (batch == 16)
    assert estimate.peak_allocated_bytes.value == max(
        trained.peak_allocated_bytes.value, dict(estimate.phases)["evaluate"]
    )
    assert (dict(estimate.phases)["evaluate"] < dict(trained.phases)["evaluate"]) == (batch == 1)
