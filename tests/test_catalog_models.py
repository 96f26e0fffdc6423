"""Every model is what its config.json says, counted twice; and a config from elsewhere is named where it errs."""

import copy
import json
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from advisor.catalog import models as module
from advisor.catalog.classes import model_classes
from advisor.catalog.families import FAMILIES
from advisor.catalog.models import all_models, find_model, model_from_config
from advisor.catalog.parameters import count_parameters
from advisor.errors import AdvisorError

MODELS = 47
TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 512,
}
LLAMA = {"model_type": "llama", **TINY}
# Weights as the hub's page or the paper prints them, in billions.
PUBLISHED = {
    "llama-2-7b": 6.74,
    "llama-3.1-8b": 8.03,
    "llama-3.3-70b": 70.55,
    "mistral-7b-v0.3": 7.25,
    "mixtral-8x7b": 46.70,
    "qwen2.5-7b": 7.62,
    "qwen2.5-72b": 72.71,
    "qwen3-30b-a3b": 30.53,
    "gemma-2-2b": 2.61,
    "gemma-3-1b": 1.00,
    "phi-4": 14.66,
    "smollm2-135m": 0.135,
    "gpt-oss-120b": 116.83,
}
SIZES = "135M 270M 360M 0.5B 0.6B 1B 1.5B 1.7B 2B 3B 4B 7B 8B 9B 12B 13B 14B 20B 24B 27B 30B 32B 70B 72B 120B"
every_model = pytest.mark.parametrize("model", all_models(), ids=lambda model: model.name)


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


def test_the_catalog_has_the_models_that_people_name():
    """A model that falls out of the folder is missed here."""
    assert len(all_models()) == len({model.name for model in all_models()}) == MODELS
    assert set(PUBLISHED) <= {model.name for model in all_models()}
    assert len(PUBLISHED) == 13


def test_models_are_listed_by_size_within_their_family():
    """As people read sizes: 270M, 1B, 4B, 12B."""
    gemmas = [model.name for model in all_models() if model.name.startswith("gemma-3")]

    assert gemmas == [f"gemma-3-{size}" for size in ("270m", "1b", "4b", "12b", "27b")]


@every_model
def test_transformers_builds_exactly_its_parameters(model):
    """The stored count is that of the real modules, and the formula's too."""
    assert built(model.config) == model.parameters == count_parameters(model.config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_is_the_published_one(name):
    """To the digits that the makers print."""
    digits = 3 if PUBLISHED[name] < 1 else 2

    assert round(find_model(name)[0].parameters / 1e9, digits) == PUBLISHED[name]


@every_model
def test_a_catalog_config_passes_the_checks_for_any_config(model):
    """What the checks refuse, no real model has."""
    assert model_from_config(model.config, model.name, source=model.source) == (model, [])


@every_model
def test_a_file_says_where_its_facts_are_from(model):
    """Source, date and confidence, and nothing that the layout does not know."""
    row = json.loads((module._FOLDER / f"{model.name}.json").read_text(encoding="utf-8"))
    keys = {"schema", "name", "aliases", "source", "date", "confidence", "parameters", "config"}

    assert keys == row.keys() - {"assumption"}
    assert (1, model.name) == (row["schema"], row["name"])
    assert len(row["aliases"]) >= 1
    assert re.fullmatch(r".{40,} \(2026-11-24, confidence (high|medium)\)", model.source)


def test_no_two_models_share_a_name():
    """Not even in another spelling, and not without the owner of the hub name."""
    names = [
        (module.key(name), slug)
        for slug in module._slugs()
        for alias in (slug, *module._row(slug)["aliases"])
        for name in (alias, alias.rpartition("/")[2])
    ]

    assert len(names) > 3 * MODELS
    assert len({name for name, _ in names}) == len(set(names))


@every_model
def test_each_model_is_found_by_all_its_names(model):
    """Hub names are not case-sensitive here."""
    for name in (model.name, *module._row(model.name)["aliases"]):
        assert find_model(name)[0] == find_model(name.upper())[0] == model


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Llama 3.1 8B", "llama-3.1-8b"),
        ("llama3.1-8b", "llama-3.1-8b"),
        ("Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/llama-3.1-8b", "llama-3.1-8b"),
        ("qwen2.5_7b_instruct", "qwen2.5-7b"),
        ("Qwen-2.5-7B", "qwen2.5-7b"),
        ("mistral-7b", "mistral-7b-v0.3"),
        ("tinyllama", "tinyllama-1.1b"),
    ],
)
def test_a_name_means_its_model_and_nothing_is_assumed(text, name):
    """Spaces, dashes, capitals and the hub's owner make no difference."""
    model, assumed = find_model(text)

    assert (name, []) == (model.name, assumed)


def test_every_size_stands_for_a_model_of_that_size():
    """The name rounds the weights; 30 % covers the makers who count without the embedding."""
    sizes = model_classes()

    assert SIZES.split() == [size.size for size in sizes]
    for size in sizes:
        model, (said, *_) = find_model(size.size)
        assert said == f'"{size.size}" stands for {size.model}: {size.reason}'
        assert size.model == model.name
        assert size.parameters == pytest.approx(model.parameters, rel=0.3)


def test_8b_means_llama_however_it_is_spelt():
    """The size that most people name."""
    assert {"llama-3.1-8b"} == {find_model(text)[0].name for text in ("8B", "8b", " 8 B ", "8.0B")}


def test_a_part_of_a_model_that_sees_is_said_to_be_one():
    """Gemma 3 from 4B on has a vision tower, which is not planned for."""
    assert [said[:28] for said in find_model("google/gemma-3-27b-it")[1]] == ["gemma-3-27b is the text part"]
    assert len(find_model("27B")[1]) == 2
    assert find_model("gemma-3-1b")[1] == []


def test_what_is_given_may_be_written_into():
    """transformers writes into a config that it is given; the catalog stays as it is."""
    find_model("llama-3.1-8b")[0].config["rope_scaling"]["rope_theta"] = 1
    given = copy.deepcopy(LLAMA) | {"rope_scaling": {"factor": 2.0}}
    model_from_config(given, "mine")[0].config["rope_scaling"]["factor"] = 3.0

    assert "rope_theta" not in find_model("llama-3.1-8b")[0].config["rope_scaling"]
    assert given["rope_scaling"] == {"factor": 2.0}


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("llama-3.1-9b", "llama-3.1-8b"),
        ("meta-lama/Llama-3.1-8B", "meta-llama/llama-3.1-8b"),
        ("qwen2.5-7c", "qwen2.5-7b"),
        ("a\0b", ""),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_the_way_out(text, near):
    """The catalog is not all there is: a config.json will do."""
    with pytest.raises(AdvisorError) as caught:
        find_model(text)

    assert f"Unknown model {text!r}." == caught.value.what
    assert near in caught.value.why
    assert "advisor show models" in caught.value.fix
    assert "config.json" in caught.value.fix


@pytest.mark.parametrize(("text", "near"), [("5B", "4B (qwen3-4b)"), ("405B", "120B (gpt-oss-120b)")])
def test_a_size_without_a_model_names_its_neighbours(text, near):
    """With the model that each stands for."""
    with pytest.raises(AdvisorError) as caught:
        find_model(text)

    assert f"No model of the catalog stands for '{text}'." == caught.value.what
    assert near in caught.value.why


@pytest.mark.parametrize("text", ["", "  ", None, 8, ["8B"], "x" * 10_000])
def test_what_is_no_name_is_refused_in_a_line(text):
    """A row of JSON can hold anything."""
    with pytest.raises(AdvisorError) as caught:
        find_model(text)

    assert "is not the name of a model" in caught.value.what
    assert len(caught.value.what) < 120


# --- configs from elsewhere


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


# --- the formula


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


def test_a_lookup_by_name_reads_one_file_and_imports_nothing_large():
    """The command line answers before torch would have loaded."""
    code = (
        "import sys; from advisor.catalog import models, gpus; models.find_model('llama-3.1-8b'); gpus.find_gpu('16GB');"
        "print(models._row.cache_info().misses, *sorted({'torch', 'numpy', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "1"
