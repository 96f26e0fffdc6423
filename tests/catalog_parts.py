"""What the tests of the catalog's models share."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from advisor.catalog.models import model_from_config
from advisor.errors import AdvisorError

TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 512,
}
LLAMA = {"model_type": "llama", **TINY}


def built(facts):
    """Weights of the model that transformers makes of the facts, tied ones once."""
    kind = facts["model_type"]
    rest = {k: copy.deepcopy(v) for k, v in facts.items() if k != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **rest))
    return sum(weight.numel() for weight in model.parameters())


def refusal(config, name="config"):
    """The one error that the config gives."""
    with pytest.raises(AdvisorError) as caught:
        model_from_config(config, name)
    return caught.value
