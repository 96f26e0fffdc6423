"""Which of transformers' optimizers are answered for, and what each keeps on the card for a weight."""

import pytest
from bitsandbytes.optim import GlobalOptimManager
from simulate_parts import facts, traced
from transformers.training_args import OptimizerNames

from advisor.errors import AdvisorError
from advisor.records import Method, TrainConfig
from advisor.step.optimizers import check_optimizer
from advisor.tape.events import Op

_PAGED_RANK = 400  # bitsandbytes pages what has at least 100,000 elements: here both matrices
_ROW = {"micro_batch": 1, "sequence_length": 64, "lora_targets": ("down_proj",)}
_CODE_TABLE_BYTES = 1024  # 256 fp32, shared by all states of an optimizer; some have a second, without a sign
_BLOCK = 256  # 8-bit numbers that share a scale

# Bytes that a state takes for each weight that learns, and how many states there are; fp32 adapters.
STATES = {
    "adamw_torch": (4, 2),
    "adamw_torch_fused": (4, 2),
    "adafactor": (0, 2),  # a row and a column a matrix
    "ademamix": (4, 3),
    "sgd": (4, 0),
    "adagrad": (4, 1),
    "adamw_bnb_8bit": (1, 2),
    "adamw_8bit": (1, 2),
    "ademamix_8bit": (1, 3),
    "lion_8bit": (1, 1),
    "lion_32bit": (4, 1),
    "paged_adamw_32bit": (4, 2),
    "paged_adamw_8bit": (1, 2),
    "paged_ademamix_32bit": (4, 3),
    "paged_ademamix_8bit": (1, 3),
    "paged_lion_32bit": (4, 1),
    "paged_lion_8bit": (1, 1),
    "rmsprop": (4, 1),
    "rmsprop_bnb": (4, 1),
    "rmsprop_bnb_8bit": (1, 1),
    "rmsprop_bnb_32bit": (4, 1),
}
NOT_INSTALLED = [each.value for each in OptimizerNames if each.value not in STATES]


def test_every_optimizer_is_in_one_of_the_lists():
    """Transformers' names of today; a new one must be put somewhere."""
    assert len(STATES) == 21
    assert len(NOT_INSTALLED) == 20


@pytest.mark.parametrize("name", STATES)
def test_what_an_optimizer_keeps(name):
    """A number for each weight and state; paged ones are the host's, but for the scales of 8-bit blocks."""
    tape = traced(facts(num_hidden_layers=1), _config(name), whole=True, exact=True)
    number_bytes, states = STATES[name]
    numbers = 0 if "paged" in name else number_bytes * states * tape.trainable
    scales = states * tape.trainable // _BLOCK * 4 if "8bit" in name else 0
    beside = _states_bytes(tape) - numbers - scales

    if name == "adafactor":
        assert 0 < beside < 16 * (_PAGED_RANK + 1000)
    elif "8bit" in name:
        assert beside in (_CODE_TABLE_BYTES, 2 * _CODE_TABLE_BYTES)
    else:
        assert 0 <= beside <= 4 * 4  # counts of steps


@pytest.mark.parametrize("name", NOT_INSTALLED)
def test_what_is_not_installed_is_refused(name):
    """By the name of the package, and with something to use instead."""
    with pytest.raises(AdvisorError, match="is not installed") as refused:
        check_optimizer(name)

    assert refused.value.why
    assert "adamw_8bit" in refused.value.fix


def test_an_unknown_optimizer_is_refused():
    """With the nearest names."""
    with pytest.raises(AdvisorError, match="adamw_9bit") as refused:
        check_optimizer("adamw_9bit")

    assert "adamw_8bit" in str(refused.value)


def _config(name):
    return TrainConfig(**_ROW, optimizer=name, lora_rank=_PAGED_RANK)


def _states_bytes(tape):
    alive = {}
    for event in tape.events:
        if event.op == Op.ALLOC:
            alive[event.a] = event
        elif event.op == Op.FREE:
            del alive[event.a]
    states = [e for e in alive.values() if tape.labels[e.label].category == "optimizer state"]
    return sum(tape.sizes[event.b].at(1, 64, 0) for event in states)


def test_weights_of_an_earlier_model_are_forgotten():
    """bitsandbytes knows by its place which keeps 32-bit states: after a full fine-tune, the first adapter would, too."""
    manager = GlobalOptimManager.get_instance()
    model, config = facts(num_hidden_layers=1), _config("adamw_8bit")
    manager.initialize()
    alone = _states_bytes(traced(model, config, whole=True, exact=True))
    traced(
        model,
        TrainConfig(method=Method.FULL, optimizer="adamw_8bit", sequence_length=64),
        whole=True,
        exact=True,
    )

    assert manager.index2config
    assert _states_bytes(traced(model, config, whole=True, exact=True)) == alone
