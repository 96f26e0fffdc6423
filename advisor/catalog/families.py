"""What transformers takes for granted in a model type, and so what its weights are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One model type of transformers 5.23: class defaults and which weights a layer has.

    Source: `models/<type>/configuration_<type>.py` and `modeling_<type>.py`; the tests build each and count.
    """

    key_value_heads: int | None = None  # where the config leaves them out; None: as many as attention heads
    head_dim: int | None = None  # where the config leaves it out; None: hidden_size / num_attention_heads
    tied: bool = False  # where tie_word_embeddings is left out
    norms: int = 2  # of hidden_size, in a layer
    head_norms: bool = False  # one of head_dim each for queries and keys
    qkv_bias: bool = False  # without asking, and none on the output
    reads_attention_bias: bool = False
    attention_bias: bool = False  # where a type that reads it leaves it out
    reads_mlp_bias: bool = False
    sinks: bool = False  # one number a head
    experts: Literal["none", "mixtral", "qwen3_moe", "gpt_oss"] = "none"


@dataclass(frozen=True, slots=True)
class Heads:
    """The shape of an attention layer."""

    query: int
    key_value: int
    dim: int


_DENSE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size")
# The config.json of these models names fewer fields than others do: Gemma 3 on the hub leaves them to the class.
_LEFT_TO_THE_CLASS: dict[str, dict[str, int]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
    }
}
FAMILIES = {
    "llama": Family(reads_attention_bias=True, reads_mlp_bias=True),
    "mistral": Family(key_value_heads=8),
    "mixtral": Family(key_value_heads=8, experts="mixtral"),
    "qwen2": Family(key_value_heads=32, qkv_bias=True),
    "qwen3": Family(key_value_heads=32, head_dim=128, head_norms=True, reads_attention_bias=True),
    "qwen3_moe": Family(key_value_heads=4, head_norms=True, reads_attention_bias=True, experts="qwen3_moe"),
    "gemma": Family(key_value_heads=16, head_dim=256, tied=True, reads_attention_bias=True),
    "gemma2": Family(key_value_heads=4, head_dim=256, tied=True, norms=4, reads_attention_bias=True),
    "gemma3_text": Family(
        key_value_heads=4, head_dim=256, tied=True, norms=4, head_norms=True, reads_attention_bias=True
    ),
    "phi3": Family(),
    "gpt_oss": Family(
        key_value_heads=8,
        head_dim=64,
        reads_attention_bias=True,
        attention_bias=True,
        sinks=True,
        experts="gpt_oss",
    ),
}


def required_fields(model_type: str) -> tuple[str, ...]:
    """What a config.json of the type must say; of an unknown type, what every plan needs."""
    if model_type not in FAMILIES:
        return _DENSE[:-1]
    experts = FAMILIES[model_type].experts
    if experts == "none":
        return _DENSE
    more = ("moe_intermediate_size", "num_experts_per_tok") if experts == "qwen3_moe" else ()
    return (*_DENSE, experts_field(model_type), *more)


def experts_field(model_type: str) -> str:
    """The key under which the type counts its experts."""
    return "num_experts" if model_type == "qwen3_moe" else "num_local_experts"


def left_to_the_class(config: Mapping[str, Any]) -> dict[str, int]:
    """The required fields that this config leaves to transformers' class, with the class's values."""
    defaults = _LEFT_TO_THE_CLASS.get(str(config.get("model_type")), {})
    return {field: value for field, value in defaults.items() if field not in config}


def heads_of(config: Mapping[str, Any]) -> Heads:
    """The shape of the attention, as transformers reads it from a known type's config."""
    family, query = FAMILIES[config["model_type"]], int(config["num_attention_heads"])
    key_value = config.get("num_key_value_heads", family.key_value_heads) or query
    dim = config.get("head_dim", family.head_dim) or config["hidden_size"] // query
    return Heads(query, int(key_value), int(dim))
