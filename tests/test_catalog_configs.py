"""A config from elsewhere is read, or named where it errs; and its weights are counted."""

import json
import re

import pytest
from catalog_parts import LLAMA, TINY, built, refusal

from advisor.catalog.families import FAMILIES
from advisor.catalog.models import all_models, find_model, model_from_config
from advisor.errors import AdvisorError


def test_a_config_is_read_from_a_file_a_directory_or_an_object(tmp_path):
    """The name is what was typed, for the plan's command repeats it."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8")

    for text in (str(file), str(tmp_path)):
        model, assumed = find_model(text)
        assert (text, text, LLAMA, []) == (model.name, model.source, model.config, assumed)
        assert built(LLAMA) == model.parameters
    assert find_model(LLAMA)[0].config == LLAMA


def test_a_directory_named_like_a_model_of_the_catalog_is_not_read_silently(tmp_path, monkeypatch):
    """The catalog answers, and says how to name the directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "meta-llama" / "Llama-3.1-8B"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")

    model, (said,) = find_model("meta-llama/Llama-3.1-8B")
    assert model.name == "llama-3.1-8b"
    assert "./meta-llama/Llama-3.1-8B" in said
    assert find_model("./meta-llama/Llama-3.1-8B")[0].config == LLAMA


BAD_FILES = {
    "cut short": ('{"model_type": "llama",\n "hidden_size": 64', "line 2, is not JSON"),
    "not JSON": ('{"model_type": "llama",\n\n hidden_size: 64}', "line 3, is not JSON"),
    "empty": ("", "line 1, is not JSON"),
    "NaN": ('{"hidden_size": NaN}', "is not JSON"),
    "endless": ('{"hidden_size": ' + "9" * 5000 + "}", "is not JSON"),
    "deep": ("[" * 100_000, "is not JSON"),
    "a list": ("[1]", "holds no JSON object"),
    "binary": (b'{"model_type":\n"\xff\xfe"}', "line 2, is not UTF-8"),
    "large": (" " * (1 << 20) + "{}", "is larger than 1 MiB"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_with_its_line(tmp_path, case):
    """The user can go there and mend it."""
    content, fault = BAD_FILES[case]
    file = tmp_path / "config.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(AdvisorError) as caught:
        find_model(str(file))

    assert caught.value.what.startswith(str(file))
    assert fault in caught.value.what
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text", ["./nothing", "nothing/config.json", "/nothing", "/dev/zero", "/" + "x" * 300]
)
def test_a_path_that_leads_nowhere_is_no_unknown_name(text):
    """Nor is it waited on."""
    with pytest.raises(AdvisorError, match=r"There is no file|Can't read"):
        find_model(text)


def test_a_directory_without_a_config_is_named(tmp_path):
    """With the file that it lacks."""
    with pytest.raises(AdvisorError, match=f"There is no file {re.escape(str(tmp_path))}"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("field", ["model_type", *TINY])
def test_a_missing_field_is_named(field):
    """Null is as good as missing."""
    without = {k: v for k, v in LLAMA.items() if k != field}

    assert (
        refusal(without, "mine").what
        == refusal(without | {field: None}, "mine").what
        == f"mine has no {field}."
    )


@pytest.mark.parametrize("value", ["64", -1, 0, 6.4, True, 1 << 40, [64], {"a": 64}, float("inf")])
@pytest.mark.parametrize("field", TINY)
def test_a_wrong_value_is_named_with_its_field(field, value):
    """Text, negatives, fractions, switches, the absurdly large."""
    error = refusal(LLAMA | {field: value}, "mine")

    assert error.what == f"{field} = {value!r} in mine is not allowed."
    assert error.why.startswith("expected an integer from 1 to ")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("llama", "model_type", ["llama"]),
        ("llama", "model_type", "../llama"),
        ("llama", "num_key_value_heads", 3),
        ("llama", "num_key_value_heads", 8),
        ("llama", "num_key_value_heads", "4"),
        ("llama", "hidden_size", 66),
        ("llama", "head_dim", -16),
        ("llama", "tie_word_embeddings", "false"),
        ("llama", "attention_bias", 1),
        ("llama", "text_config", "llama"),
        ("mixtral", "num_local_experts", 0),
        ("gpt_oss", "num_local_experts", "8"),
        ("qwen3_moe", "num_experts", 1.5),
        ("qwen3_moe", "moe_intermediate_size", "32"),
        ("qwen3_moe", "num_experts_per_tok", -1),
        ("qwen3_moe", "mlp_only_layers", [0, "1"]),
        ("qwen3_moe", "decoder_sparse_step", 0),
    ],
)
def test_a_wrong_value_of_a_type_is_named(kind, field, value):
    """What only some models have is checked as strictly."""
    assert refusal(variant(kind) | {field: value}).what == f"{field} = {value!r} in config is not allowed."


@pytest.mark.parametrize("field", ["num_experts", "moe_intermediate_size", "num_experts_per_tok"])
def test_a_mixture_of_experts_must_say_how_many(field):
    """No class default stands in for the size of a model."""
    assert (
        refusal({k: v for k, v in variant("qwen3_moe").items() if k != field}).what
        == f"config has no {field}."
    )


def test_a_long_value_is_cut():
    """The message stays one line."""
    assert len(refusal(LLAMA | {"hidden_size": "x" * 100_000}).what) < 120


def test_the_text_part_of_a_multimodal_config_is_taken_and_said():
    """As the hub has Gemma 3 4B: what it leaves out is transformers' default, and is printed."""
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    model, (part, defaults) = model_from_config({"model_type": "gemma3", "text_config": text}, "mine")

    assert find_model("gemma-3-4b")[0].parameters == model.parameters == built(model.config) == built(text)
    assert part == "mine describes more than text: only its text_config is planned for"
    assert "num_attention_heads = 8, num_key_value_heads = 4, head_dim = 256, vocab_size = 262208" in defaults


def test_tied_weights_are_inherited_by_the_text_part():
    """The switch may stand outside."""
    config = {"model_type": "mistral3", "tie_word_embeddings": True, "text_config": variant("mistral")}

    assert model_from_config(config, "mine")[0].config["tie_word_embeddings"] is True
    assert "tie_word_embeddings" not in config["text_config"]


def test_a_missing_field_of_the_text_part_is_named():
    """The outer ones do not stand in."""
    assert "has no hidden_size" in refusal(LLAMA | {"text_config": {"model_type": "llama"}}).what
    assert "has no model_type" in refusal(LLAMA | {"text_config": TINY}).what


def test_quantised_weights_are_planned_unquantised_and_said():
    """The plan chooses the precision itself."""
    model, (said,) = model_from_config(LLAMA | {"quantization_config": {"quant_method": "awq"}}, "mine")

    assert model.config == LLAMA
    assert "quantised" in said


def test_an_unknown_type_has_no_count_and_says_so():
    """0, not a guess; a trace will know."""
    model, (said,) = model_from_config({"model_type": "olmo2", **TINY}, "mine")

    assert model.parameters == 0
    assert "type olmo2" in said


def variant(kind, **more):
    """A tiny config of the type, complete."""
    experts = {
        "mixtral": {"num_local_experts": 4},
        "gpt_oss": {"num_local_experts": 4},
        "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2},
    }
    return {
        "model_type": kind,
        **TINY,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        **experts.get(kind, {}),
        **more,
    }


VARIANTS = {
    "plain": {},
    "head_dim": {"head_dim": 32},
    "tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False},
    "attention_bias": {"attention_bias": True},
    "no attention_bias": {"attention_bias": False},
    "mlp_bias": {"mlp_bias": True},
    "dense layers": {"mlp_only_layers": [1], "decoder_sparse_step": 2},
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_formula_counts_what_transformers_builds(kind, name):
    """For every type that it covers and every switch that changes the weights."""
    config = variant(kind, **VARIANTS[name])

    assert built(config) == model_from_config(config, "mine")[0].parameters


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_formula_knows_the_defaults_of_each_type(kind):
    """A config.json may leave out the key and value heads and the size of a head."""
    config = variant(kind, hidden_size=128, num_attention_heads=32)
    del config["num_key_value_heads"]

    assert built(config) == model_from_config(config, "mine")[0].parameters


def test_there_are_as_many_types_as_the_tests_think():
    """Eleven; a new one is tested by being in the table."""
    assert len(FAMILIES) == 11
    assert {model.config["model_type"] for model in all_models()} == set(FAMILIES) - {"gemma"}
