"""What can't be traced says what, why and what to do; it never ends in a traceback, and it says nothing else."""

import socket

import pytest
from simulate_parts import facts, traced

from advisor.errors import AdvisorError
from advisor.records import Loss, Method, Precision, TrainConfig

LORA = TrainConfig()
CASES = {
    "no architecture": ({"hidden_size": 8}, LORA, "no model_type"),
    "unknown architecture": (facts("lama"), LORA, "Unknown model_type 'lama'"),
    "an encoder": (facts("bert"), LORA, "no causal language model"),
    "an encoder and decoder": ({"model_type": "t5"}, LORA, "no causal language model"),
    "more than text": ({"model_type": "gemma3", "text_config": facts("gemma3_text")}, LORA, "more parts"),
    "odd heads": (facts(hidden_size=250), LORA, "not a multiple of the number of attention heads"),
    "odd groups": (facts(num_key_value_heads=3), LORA, "can't share 3 key heads"),
    "no groups": (facts(num_key_value_heads=0), LORA, "ZeroDivisionError"),
    "text for a number": (facts(hidden_size="wide"), LORA, "expected int"),
    "no layers": (facts(num_hidden_layers=0), LORA, "no decoder layers"),
    "no such module": (facts(), TrainConfig(lora_targets=("query",)), "Target modules {'query'} not found"),
    "an adapter on the head": (
        facts(),
        TrainConfig(lora_targets=("lm_head",), loss=Loss.CHUNKED),
        "adapter to `lm_head` is not supported",
    ),
    "quantised weights that learn": (
        facts(),
        TrainConfig(method=Method.FULL, precision=Precision.NF4),
        "can't update nf4 weights",
    ),
    "more layers than there are": (
        facts(),
        TrainConfig(method=Method.LAST_LAYERS, trainable_layers=9),
        "but the model has 8 layers",
    ),
    "no such optimizer": (facts(), TrainConfig(optimizer="adamw8bit"), "Unknown optimizer 'adamw8bit'"),
}


@pytest.mark.parametrize(("model", "config", "told"), CASES.values(), ids=CASES)
def test_it_says_why(capfd, model, config, told):
    """In the words of whoever found it."""
    with pytest.raises(AdvisorError) as caught:
        traced(model, config)

    assert told in str(caught.value)
    assert caught.value.fix
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("model_type", ["gpt2", "falcon", "gpt_neox", "phi3", "olmo2", "granite", "cohere"])
def test_other_architectures_trace(model_type):
    """No architecture is known by name: what transformers builds and PEFT adapts is traced."""
    model = facts(model_type, n_layer=8, n_embd=256, n_head=8, pad_token_id=0)
    tape = traced(model, TrainConfig(sequence_length=512))

    assert tape.trainable > 0
    assert tape.traced_layers == 4


def test_a_trace_asks_no_network(monkeypatch):
    """Not the hub, not anyone."""

    def refused(*_):
        raise AssertionError("a trace went to the network")

    monkeypatch.setattr(socket.socket, "connect", refused)

    assert traced(facts(num_hidden_layers=2), TrainConfig(loss=Loss.CHUNKED)).trainable > 0
