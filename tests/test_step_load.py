"""Loading: what is not whole is refused, and what was loaded can be saved again."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.records import Precision, TrainConfig
from advisor.step.load import load_model
from advisor.step.observe import Unobserved
from advisor.step.weights import Checkpoint, Shaped, random_weights

BF16 = TrainConfig(precision=Precision.BF16)


@pytest.fixture
def folder(tmp_path):
    """The demo's model, to be spoilt."""
    return shutil.copytree(MODEL_FOLDER, tmp_path / "model")


def load(folder):
    """The model in it, on the CPU."""
    return load_model(Checkpoint(str(folder)), BF16, torch.device("cpu"), Unobserved())


def test_a_missing_weight_is_refused(folder):
    """transformers would fill it with random numbers."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(AdvisorError, match="not whole") as caught:
        load(folder)
    assert "1 are missing, such as model.layers.3.mlp.up_proj.weight" in caught.value.why


def test_a_torn_file_is_refused(folder):
    """A download that broke off."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])

    with pytest.raises(AdvisorError, match="can't load") as caught:
        load(folder)
    assert "deserializing" in caught.value.why


def test_generation_settings_that_could_not_be_saved_are_replaced(folder, tmp_path):
    """transformers refuses them when the training is over, which is too late."""
    settings = GenerationConfig(do_sample=False, temperature=0.3, eos_token_id=0)
    (folder / "generation_config.json").write_text(settings.to_json_string())
    model = load(folder)
    model.generation_config.pad_token_id = 1  # as the trainer does where the tokenizer says so

    model.save_pretrained(tmp_path / "saved")


def test_random_weights_give_llm_int8_no_outliers():
    """No layer reads a value of 6.0, where it would set columns apart: the bench's rows are of what is predicted."""
    model_facts = {
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 3,
    }
    model_facts |= {"num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 4096}
    model = load_model(Shaped(model_facts, random_weights()), BF16, torch.device("cpu"), Unobserved())
    read = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].abs().max().item()))
    with torch.no_grad():
        model(torch.arange(256).unsqueeze(0))

    assert len(read) == 3 * 7 + 1
    assert 0.01 < max(read) < 5.0
