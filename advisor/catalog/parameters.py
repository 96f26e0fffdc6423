"""How many weights a config.json asks for, without building the model."""

from collections.abc import Mapping
from typing import Any

from advisor.catalog.families import FAMILIES, Family, experts_field, heads_of


def count_parameters(config: Mapping[str, Any]) -> int:
    """Weights of the causal LM, tied ones once; 0 where the model type is not known here.

    Limits: the config is valid, as `model_facts.checked_facts` gives it.
    """
    family = FAMILIES.get(config["model_type"])
    if family is None:
        return 0
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    tied = config.get("tie_word_embeddings", family.tied)
    ends = vocabulary * hidden * (1 if tied else 2) + hidden  # embedding, head, last norm
    layers: int = config["num_hidden_layers"]
    same = _attention(config, family) + family.norms * hidden
    return int(ends + layers * same + sum(_feed_forward(config, family, layer) for layer in range(layers)))


def _attention(config: Mapping[str, Any], family: Family) -> int:
    heads, hidden = heads_of(config), int(config["hidden_size"])
    query, key_value = heads.query * heads.dim, heads.key_value * heads.dim
    weights = 2 * hidden * query + 2 * hidden * key_value
    if family.reads_attention_bias and config.get("attention_bias", family.attention_bias):
        weights += query + 2 * key_value + hidden
    if family.qkv_bias:
        weights += query + 2 * key_value
    return weights + 2 * heads.dim * family.head_norms + heads.query * family.sinks


def _feed_forward(config: Mapping[str, Any], family: Family, layer: int) -> int:
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    if family.experts == "mixtral":
        return _experts(config) * (hidden + 3 * hidden * inner)
    if family.experts == "gpt_oss":
        # Router, gate and up in one, down: all with a bias.
        return _experts(config) * (hidden + 1 + 3 * hidden * inner + 2 * inner + hidden)
    if family.experts == "qwen3_moe" and _is_sparse(config, layer):
        return _experts(config) * (hidden + 3 * hidden * int(config["moe_intermediate_size"]))
    bias = 2 * inner + hidden if family.reads_mlp_bias and config.get("mlp_bias") else 0
    return 3 * hidden * inner + bias


def _experts(config: Mapping[str, Any]) -> int:
    return int(config[experts_field(config["model_type"])])


def _is_sparse(config: Mapping[str, Any], layer: int) -> bool:
    """Source: transformers `models/qwen3_moe/modeling_qwen3_moe.py`, Qwen3MoeDecoderLayer."""
    if layer in (config.get("mlp_only_layers") or ()):
        return False
    return (layer + 1) % (config.get("decoder_sparse_step") or 1) == 0
