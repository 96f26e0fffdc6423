"""A config.json is hostile until it has been read: each field that is missing or wrong is named."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from advisor.catalog.families import FAMILIES, heads_of, left_to_the_class, required_fields
from advisor.catalog.names import shown
from advisor.errors import AdvisorError

# Far above any model; beyond them a number is a slip, and a trace of it would never end.
_LARGEST = {
    "hidden_size": 1 << 18,
    "intermediate_size": 1 << 22,
    "moe_intermediate_size": 1 << 22,
    "vocab_size": 1 << 26,
    "num_hidden_layers": 1 << 12,
    "num_attention_heads": 1 << 14,
    "num_key_value_heads": 1 << 14,
    "head_dim": 1 << 14,
    "num_experts": 1 << 14,
    "num_local_experts": 1 << 14,
    "num_experts_per_tok": 1 << 14,
    "decoder_sparse_step": 1 << 12,
    "max_position_embeddings": 1 << 32,
}
_OPTIONAL = ("num_key_value_heads", "head_dim", "decoder_sparse_step", "max_position_embeddings")
_SWITCHES = ("tie_word_embeddings", "attention_bias", "mlp_bias")
_FIX = "give the config.json that the model's own repository has"


def checked_facts(raw: Mapping[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """The facts of the language model in a copy of the config, and what was assumed to read them.

    Raises: AdvisorError naming the config, the field and its value.
    """
    facts, assumptions = _text_part(raw, name)
    _check_type(facts, name)
    absent = left_to_the_class(facts)
    if absent:
        told = ", ".join(f"{field} = {value}" for field, value in absent.items())
        assumptions.append(f"{name} leaves {told} to transformers' defaults for {facts['model_type']}")
    if facts.pop("quantization_config", None) is not None:
        assumptions.append(f"{name} describes quantised weights; the plan takes the model unquantised")
    facts |= absent
    _check_fields(facts, name)
    return facts, assumptions


def _text_part(raw: Mapping[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    facts = copy.deepcopy(dict(raw))
    text = facts.get("text_config")
    if text is None:
        return facts, []
    if not isinstance(text, dict):
        raise _refused(name, "text_config", text, "a JSON object")
    if "tie_word_embeddings" in facts:
        text.setdefault("tie_word_embeddings", facts["tie_word_embeddings"])
    return text, [f"{name} describes more than text: only its text_config is planned for"]


def _check_type(facts: Mapping[str, Any], name: str) -> None:
    kind = facts.get("model_type")
    if kind is None:
        raise _missing(name, "model_type", "any")
    if not isinstance(kind, str) or not kind.isidentifier():
        raise _refused(name, "model_type", kind, "a model type of transformers, such as llama")


def _check_fields(facts: Mapping[str, Any], name: str) -> None:
    kind = facts["model_type"]
    for field in required_fields(kind):
        if facts.get(field) is None:
            raise _missing(name, field, kind)
        _check(facts, name, field, _is_size, f"an integer from 1 to {_LARGEST[field]}")
    if kind in FAMILIES:
        _check_optional(facts, name)
        _check_heads(facts, name)


def _check_optional(facts: Mapping[str, Any], name: str) -> None:
    given = [field for field in (*_OPTIONAL, *_SWITCHES) if facts.get(field) is not None]
    for field in given:
        if field in _SWITCHES:
            _check(facts, name, field, lambda _, value: isinstance(value, bool), "true or false")
        else:
            _check(facts, name, field, _is_size, f"an integer from 1 to {_LARGEST[field]}")
    if facts.get("mlp_only_layers") is not None:
        _check(facts, name, "mlp_only_layers", _is_integers, "a list of integers")


def _check_heads(facts: Mapping[str, Any], name: str) -> None:
    heads = heads_of(facts)
    if heads.query % heads.key_value:
        expected = f"a divisor of num_attention_heads, {heads.query}"
        raise _refused(name, "num_key_value_heads", heads.key_value, expected)
    divides = FAMILIES[facts["model_type"]].head_dim is None and not facts.get("head_dim")
    if divides and facts["hidden_size"] % heads.query:
        expected = f"a multiple of num_attention_heads, {heads.query}, where there is no head_dim"
        raise _refused(name, "hidden_size", facts["hidden_size"], expected)


def _check(
    facts: Mapping[str, Any], name: str, field: str, right: Callable[[str, Any], bool], expected: str
) -> None:
    if not right(field, facts[field]):
        raise _refused(name, field, facts[field], expected)


def _is_size(field: str, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST[field]


def _is_integers(_: str, value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _missing(name: str, field: str, kind: str) -> AdvisorError:
    return AdvisorError(f"{name} has no {field}.", why=f"a config.json of {kind} type must have it", fix=_FIX)


def _refused(name: str, field: str, value: Any, expected: str) -> AdvisorError:
    return AdvisorError(
        f"{field} = {shown(value)} in {name} is not allowed.", why=f"expected {expected}", fix=_FIX
    )
