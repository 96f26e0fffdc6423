"""The cut is exact: a few layers, one of them repeated, do what the whole model does.

Compared is the whole of `lived`: every allocation with its bytes, category and op, which free ends which
allocation, every kernel with its operations and bytes, all in order, from loading to the end of step two.
"""

import pytest
from simulate_parts import every_pair, facts, first_difference, lived, traced

from advisor.records import (
    Attention,
    Autocast,
    Checkpointing,
    Loop,
    LoraVariant,
    Loss,
    Method,
    Precision,
    TrainConfig,
)
from advisor.tape.events import NO_PART

_SHAPE = {"micro_batch": 2, "sequence_length": 1024, "trainable_layers": 2}
_FEW_ADAPTERS = ("q_proj", "o_proj", "down_proj")  # of each kind of projection one
_CHOICES = {
    "model_type": ("llama", "qwen2", "qwen3", "mistral"),
    "method": tuple(Method),
    "precision": (Precision.BF16, Precision.FP32, Precision.NF4, Precision.INT8),
    "checkpointing": tuple(Checkpointing),
    "loss": tuple(Loss),
    "loop": tuple(Loop),
    "accumulation_steps": (1, 2),
}


def _can_learn(row):
    return row["method"] is Method.LORA or row["precision"] in (Precision.BF16, Precision.FP32)


PAIRS = every_pair(_CHOICES, _can_learn)
VARIANTS = [
    {"lora_targets": "all-linear"},
    {"optimizer": "adamw_torch"},
    {"optimizer": "adamw_8bit"},
    {"optimizer": "paged_adamw_8bit", "method": Method.FULL},
    {"optimizer": "adafactor"},
    {"optimizer": "lion_32bit"},
    {"optimizer": "adamw_torch", "method": Method.FULL, "precision": Precision.FP32},
    {"autocast": Autocast.FP16, "precision": Precision.NF4_SINGLE},
    {"autocast": Autocast.NONE, "adapter_dtype": "bf16"},
    {"lora_dropout": 0.1, "lora_targets": ("q_proj", "v_proj"), "lora_rank": 26},
    {"kbit_prepare": True, "precision": Precision.NF4, "checkpointing": Checkpointing.NON_REENTRANT},
    {"attention": Attention.EAGER},
    {"lora_variant": LoraVariant.DORA, "precision": Precision.NF4, "loss": Loss.CHUNKED},
    {"lora_variant": LoraVariant.DORA, "precision": Precision.INT8},
]
PATTERNS = [
    facts("llama", tie_word_embeddings=True),
    # Local and global attention by turns; eleven layers leave one over.
    facts("gemma2", num_hidden_layers=11, head_dim=32, sliding_window=512),
    facts("mixtral", num_local_experts=4, num_experts_per_tok=2),
]


def _name(row):
    return "-".join(str(value) for value in row.values()) if isinstance(row, dict) else row


def test_the_pairs_are_all_there():
    """A shorter list would prove less."""
    assert len(PAIRS) >= len(_CHOICES["model_type"]) * len(_CHOICES["precision"])
    for name, values in _CHOICES.items():
        assert {row[name] for row in PAIRS} == set(values)


@pytest.mark.parametrize("row", PAIRS, ids=_name)
def test_the_cut_is_the_whole(row):
    """For every two settings that can meet."""
    settings = dict(row)
    model = facts(settings.pop("model_type"))
    _assert_cut_is_whole(model, TrainConfig(**_SHAPE, **settings, lora_targets=_FEW_ADAPTERS))


@pytest.mark.parametrize("variant", VARIANTS, ids=_name)
def test_the_cut_is_the_whole_for(variant):
    """For the settings that are no pairs."""
    _assert_cut_is_whole(facts(), TrainConfig(**(_SHAPE | {"lora_targets": _FEW_ADAPTERS} | variant)))


@pytest.mark.parametrize("model", PATTERNS, ids=lambda model: model["model_type"])
def test_the_cut_is_the_whole_of(model):
    """For models whose layers are of more than one kind, or hold experts."""
    _assert_cut_is_whole(model, TrainConfig(**_SHAPE, lora_targets=("q_proj", "v_proj")))


def test_a_model_without_a_pattern_is_not_cut():
    """Its first layer has no experts, so no layer stands for all."""
    odd = facts(
        "qwen3_moe",
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        mlp_only_layers=[0],
        head_dim=32,
    )
    tape = traced(odd, TrainConfig(**_SHAPE, lora_targets=("q_proj",)))

    assert tape.template == NO_PART
    assert tape.traced_layers == odd["num_hidden_layers"]


def _assert_cut_is_whole(model, config):
    whole, cut = traced(model, config, whole=True), traced(model, config)

    assert cut.traced_layers < whole.traced_layers == whole.layers == cut.layers
    assert first_difference(lived(whole, config), lived(cut, config)) is None
    assert (cut.parameters, cut.trainable) == (whole.parameters, whole.trainable)
