"""Every model is what its config.json says, counted twice."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from catalog_parts import LLAMA, built

from advisor.catalog import models as module
from advisor.catalog.classes import model_classes
from advisor.catalog.models import all_models, find_model, model_from_config
from advisor.catalog.parameters import count_parameters
from advisor.errors import AdvisorError

MODELS = 47
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
    bare = replace(model, hub_name="")

    assert (bare, []) == model_from_config(model.config, model.name, source=model.source)


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


def test_a_lookup_by_name_reads_one_file_and_imports_nothing_large():
    """The command line answers before torch would have loaded."""
    code = (
        "import sys; from advisor.catalog import models, gpus; models.find_model('llama-3.1-8b'); gpus.find_gpu('16GB');"
        "print(models._row.cache_info().misses, *sorted({'torch', 'numpy', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "1"
