"""What adapters read: left in its dtype it gives the same numbers, and less is copied and kept."""

import pytest
import torch
from simulate_parts import facts, traced
from train_parts import one_thread

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.records import QUANTISED, Autocast, LoraVariant, Precision, TrainConfig
from advisor.step.data import random_blocks
from advisor.step.observe import Unobserved
from advisor.step.session import build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Checkpoint
from advisor.tape.events import Op
from advisor.tape.regime import regime_of
from advisor.tape.target import Target

CARD = Target((9, 0), 132)


def _trained(tmp_path, **config):
    """The adapters after three steps on the CPU, from the same start."""
    torch.manual_seed(0)
    made = build(
        Checkpoint(str(MODEL_FOLDER)),
        TrainConfig(micro_batch=2, sequence_length=32, **config),
        RunOptions(output_dir=str(tmp_path), max_steps=3),
        train_data=random_blocks(rows=6, sequence_length=32, vocab=4096),
        device=torch.device("cpu"),
        observer=Unobserved(),
    )
    with one_thread():
        made.train()
    return {name: p.detach().clone() for name, p in made.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("precision", "variant"),
    [
        (Precision.BF16, LoraVariant.NONE),
        (Precision.FP32, LoraVariant.NONE),
        (Precision.BF16, LoraVariant.DORA),
    ],
)
def test_inputs_left_as_they_are_train_the_same(tmp_path, precision, variant):
    """Bit for bit: autocast would have cast them back; DoRA's magnitudes sum in another dtype, so they are near."""
    cast = _trained(tmp_path, precision=precision, lora_variant=variant)
    kept = _trained(tmp_path, precision=precision, lora_variant=variant, cast_adapter_inputs=False)

    assert cast.keys() == kept.keys()
    exact = variant is not LoraVariant.DORA
    for name, value in cast.items():
        assert torch.equal(value, kept[name]) if exact else torch.allclose(value, kept[name], atol=1e-2), name


def test_less_is_kept_for_the_backward_pass():
    """By a trace: the cast, and the copy that autocast makes of it, are gone."""
    model = facts("llama")
    copies = {}
    for cast in (True, False):
        tape = traced(model, TrainConfig(micro_batch=2, sequence_length=300, cast_adapter_inputs=cast))
        launched = [tape.kernels[event.a].kind for event in tape.events if event.op is Op.KERNEL]
        copies[cast] = launched.count("copy")

    assert 0 < copies[False] < 0.75 * copies[True]


def test_without_autocast_they_must_be_cast():
    """A product of two dtypes is refused, so the config is, too."""
    with pytest.raises(AdvisorError, match="must be cast"):
        traced(facts("llama"), TrainConfig(autocast=Autocast.NONE, cast_adapter_inputs=False))


@pytest.mark.parametrize("precision", QUANTISED)
def test_over_quantised_layers_it_is_the_same_tape(precision):
    """Under autocast PEFT casts nothing there."""
    keys = [
        regime_of(config, facts("llama")).key(config, CARD)
        for config in (
            TrainConfig(precision=precision),
            TrainConfig(precision=precision, cast_adapter_inputs=False),
        )
    ]
    assert keys[0] == keys[1]
