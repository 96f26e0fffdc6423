"""A plan in another tool's words: read again it is the same, the tool's own parser takes it, what can't be said is told."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib.resources import files

import pytest
import yaml
from datasets import Dataset
from test_interop_reading import plan_document
from train_parts import make_tiny_model, texts, write_rows

from advisor.errors import AdvisorError
from advisor.interop.export import Target, export_plan
from advisor.interop.reading import read_document
from advisor.interop.settings import settings_between
from advisor.interop.table import FORMATS, table
from advisor.interop.writing import differences
from advisor.plan.document import load_plan
from advisor.records import config_from_json

QLORA = {
    "precision": "nf4", "micro_batch": 4, "accumulation_steps": 4, "checkpointing": "non-reentrant", "loss": "chunked",
    "adapter_dtype": "bf16", "sequence_length": 1024, "lora_dropout": 0.1, "lora_rank": 8,
}  # fmt: skip
CONFIGS = {
    "qlora": QLORA,
    "qlora fp32 adapters": QLORA | {"adapter_dtype": "fp32"},
    "single": QLORA | {"precision": "nf4-single", "lora_targets": ["q_proj", "v_proj"]},
    "int8": QLORA | {"precision": "int8", "checkpointing": "reentrant", "optimizer": "adamw_8bit"},
    "bf16 lora": QLORA | {"precision": "bf16", "checkpointing": "none", "attention": "eager"},
    "fp16": QLORA | {"autocast": "fp16", "adapter_dtype": "fp32", "allocator": "expandable"},
    "dora": QLORA | {"lora_variant": "dora", "allocator": "expandable", "checkpointing": "reentrant"},
    "rslora offloaded": QLORA
    | {"lora_variant": "rslora", "checkpointing": "offloaded", "checkpointed_layers": 3},
    "full bf16": {"method": "full", "precision": "bf16", "loss": "chunked", "attention": "flash_attention_2"},
    "full fp32": {"method": "full", "precision": "fp32", "loss": "stock", "accumulation_steps": 2},
    "liger": QLORA | {"loss": "liger", "allocator": "expandable", "checkpointing": "reentrant"},
    "liger bf16 lora": QLORA
    | {"precision": "bf16", "loss": "liger", "adapter_dtype": "fp32", "cast_adapter_inputs": False},
    "last layers": {"method": "last-layers", "precision": "bf16", "trainable_layers": 2},
}
# What each tool can't be told, by config; a tool that is not named can say everything.
UNSAID = {
    ("qlora", "axolotl"): ["allocator"],
    ("qlora", "llama-factory"): ["loss"],
    ("qlora fp32 adapters", "trl"): ["adapter_dtype"],
    ("qlora fp32 adapters", "axolotl"): ["allocator"],
    ("qlora fp32 adapters", "llama-factory"): ["loss"],
    ("single", "axolotl"): ["allocator"],
    ("single", "llama-factory"): ["loss"],
    ("int8", "axolotl"): ["allocator"],
    ("int8", "llama-factory"): ["loss"],
    ("bf16 lora", "trl"): ["adapter_dtype"],
    ("bf16 lora", "axolotl"): ["allocator"],
    ("bf16 lora", "llama-factory"): ["loss"],
    ("fp16", "trl"): ["adapter_dtype"],
    ("fp16", "llama-factory"): ["loss", "allocator"],
    ("dora", "llama-factory"): ["loss", "allocator"],
    ("rslora offloaded", "trl"): ["checkpointed_layers"],
    ("rslora offloaded", "axolotl"): ["checkpointing", "allocator", "checkpointed_layers"],
    ("rslora offloaded", "llama-factory"): ["checkpointing", "loss", "checkpointed_layers"],
    ("full bf16", "axolotl"): ["allocator"],
    ("full bf16", "llama-factory"): ["loss"],
    ("full fp32", "trl"): ["loss"],
    ("full fp32", "axolotl"): ["autocast", "allocator"],
    ("liger", "trl"): ["loss"],
    ("liger", "llama-factory"): ["allocator"],
    ("liger bf16 lora", "trl"): ["loss", "cast_adapter_inputs"],
    ("liger bf16 lora", "axolotl"): ["allocator", "cast_adapter_inputs"],
    ("liger bf16 lora", "llama-factory"): ["cast_adapter_inputs"],
}
REFUSED = {("last layers", "trl"), ("last layers", "axolotl")}
PAIRS = [(config, tool) for config in CONFIGS for tool in FORMATS if (config, tool) not in REFUSED]


def planned(tmp_path, config, **model):
    """A plan file of the config, read."""
    document = plan_document()
    document["config"] = config
    document["model"] |= model
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    return load_plan(path)


def export(tmp_path, config, tool, **more):
    """What `advisor export` makes of the config."""
    asked = {
        "model": "meta-llama/Llama-3.1-8B",
        "data": "train.jsonl",
        "output": "run",
        "learning_rate": 2e-4,
    }
    return export_plan(planned(tmp_path, config), Target(tool), **(asked | more))


@pytest.mark.parametrize(("name", "tool"), PAIRS)
def test_read_again_it_is_the_same_config(tmp_path, name, tool):
    """But for the fields that the file names as not sayable; every key is one that the tool has."""
    config = config_from_json(CONFIGS[name])
    made = export(tmp_path, CONFIGS[name], tool)
    document = yaml.safe_load(made.text)
    again = read_document(document, table(tool), "again.yml")

    unsaid = UNSAID.get((name, tool), [])
    assert unsaid == differences(config, again.config)
    assert unsaid == [line.partition(":")[0] for line in made.missing]
    assert all(f"#   {line}" in made.text for line in made.missing)
    assert not set(document) - table(tool).accepted
    assert () == again.unknown


@pytest.mark.parametrize(("name", "tool"), sorted(REFUSED))
def test_a_method_that_a_tool_does_not_have_is_an_error(tmp_path, name, tool):
    """Not a comment beside a full fine-tune."""
    with pytest.raises(AdvisorError, match="last-layers"):
        export(tmp_path, CONFIGS[name], tool)


@pytest.mark.parametrize("name", [name for name, tool in PAIRS if tool == "trl"])
def test_trls_own_parser_takes_it(tmp_path, name):
    """Every key, with no leftovers, and it means there what was planned."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser
    from trl.trainer.utils import get_peft_config, get_quantization_config

    file = tmp_path / "train.yml"
    file.write_text(export(tmp_path, CONFIGS[name], "trl").text)
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    words = ["--config", str(file), "--use_cpu", "True", "--fp16", "False", "--output_dir", str(tmp_path)]
    _, training, model, data = parser.parse_args_and_config(words, fail_with_unknown_args=True)
    config = config_from_json(CONFIGS[name])
    quantised, peft = get_quantization_config(model), get_peft_config(model)

    assert config.micro_batch == training.per_device_train_batch_size
    assert config.sequence_length == training.max_length
    assert (config.checkpointing.value != "none") == training.gradient_checkpointing
    assert config.optimizer == training.optim
    assert (config.loss.value == "liger") == training.use_liger_kernel
    assert "train.jsonl" == data.datasets[0].data_files
    assert (config.precision.value in ("nf4", "nf4-single", "int8")) == (quantised is not None)
    if quantised is not None and quantised.load_in_4bit:
        assert (config.precision.value == "nf4") == quantised.bnb_4bit_use_double_quant
    assert (config.method.value == "lora") == (peft is not None)
    if peft is not None:
        targets = peft.target_modules
        wanted = config.lora_targets
        assert (config.lora_rank, 2 * config.lora_rank) == (peft.r, peft.lora_alpha)
        assert wanted == targets if isinstance(wanted, str) else set(wanted) == set(targets)


@pytest.mark.parametrize("loss", ["chunked", "stock", "liger"])
def test_an_exported_script_trains(tmp_path, loss):
    """The python target, run as it stands for two steps on a tiny model on the CPU, which has no Liger kernels."""
    model = make_tiny_model(tmp_path / "model")
    data = write_rows(tmp_path / "train.jsonl", texts(40))
    config = {
        "precision": "nf4",
        "micro_batch": 2,
        "accumulation_steps": 2,
        "sequence_length": 32,
        "loss": loss,
    }
    made = export(tmp_path, config, "python", model=str(model), data=str(data), output=str(tmp_path / "run"))
    script = tmp_path / "train.py"
    script.write_text(made.text.replace("num_train_epochs=1", "max_steps=2, report_to=[]"))
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert 0 == run.returncode, run.stderr[-2000:]
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()
    assert () == made.missing


def test_a_script_of_a_liger_plan_takes_all_of_its_kernels(tmp_path):
    """trl would leave its loss out. With a stand-in for what puts the kernels in, which tells what it was asked for."""
    model = make_tiny_model(tmp_path / "model")
    data = write_rows(tmp_path / "train.jsonl", texts(40))
    config = {"precision": "bf16", "sequence_length": 32, "loss": "liger", "cast_adapter_inputs": False}
    made = export(tmp_path, config, "python", model=str(model), data=str(data), output=str(tmp_path / "run"))
    told = tmp_path / "told.json"
    stand_in = (
        "import json, transformers.trainer\n"
        "from trl import SFTTrainer\n"
        "def put_in(model, kernels):\n"
        "    casts = {m.cast_input_dtype_enabled for m in model.modules() if hasattr(m, 'cast_input_dtype_enabled')}\n"
        f"    open({str(told)!r}, 'w').write(json.dumps([kernels, sorted(casts)]))\n"
        "transformers.trainer.apply_liger_kernel = put_in\n"
    )
    text = made.text.replace("num_train_epochs=1", "max_steps=1, report_to=[]")
    assert "use_liger_kernel = on_gpu" in text
    script = tmp_path / "train.py"
    script.write_text(stand_in + text.replace("use_liger_kernel = on_gpu", "use_liger_kernel = True"))
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert 0 == run.returncode, run.stderr[-2000:]
    assert [None, [False]] == json.loads(told.read_text())  # None: no kernel is left out
    assert () == made.missing


def test_trl_leaves_ligers_loss_out(tmp_path):
    """Why use_liger_kernel is not the liger of a plan there: the version in the table, asked itself."""
    from trl import SFTConfig, SFTTrainer

    model = make_tiny_model(tmp_path / "model")
    data = Dataset.from_list([{"input_ids": list(range(20, 52))}])
    arguments = SFTConfig(
        output_dir=str(tmp_path), use_liger_kernel=True, use_cpu=True, bf16=False, report_to=[]
    )
    with pytest.warns(FutureWarning, match="use_liger_kernel"):
        trainer = SFTTrainer(model=str(model), args=arguments, train_dataset=data)

    assert {"fused_linear_cross_entropy": False} == trainer.args.liger_kernel_config


@pytest.mark.parametrize("name", CONFIGS)
def test_a_script_says_what_was_planned(tmp_path, name):
    """Both scripts are Python, and call SFTConfig with parameters that it has."""
    from trl import SFTConfig

    known = {f.name for f in fields(SFTConfig)}
    refused = name in ("single", "last layers")
    if refused:
        with pytest.raises(AdvisorError, match="unsloth does not train"):
            export(tmp_path, CONFIGS[name], "unsloth")
    for tool in ("python",) if refused else ("python", "unsloth"):
        text = export(tmp_path, CONFIGS[name], tool).text
        assert keywords(text)["SFTConfig"] <= known
        assert f"per_device_train_batch_size={CONFIGS[name].get('micro_batch', 1)}," in text


def test_unsloth_has_the_parameters_that_its_script_passes(tmp_path):
    """By the signatures of the version in accepted/unsloth.toml."""
    accepted = tomllib.loads(files("advisor.interop").joinpath("accepted/unsloth.toml").read_text())
    text = export(tmp_path, CONFIGS["qlora"], "unsloth").text
    calls = keywords(text)

    for function in ("from_pretrained", "get_peft_model"):
        assert calls[function]
        assert calls[function] <= set(accepted[function])


def keywords(text):
    """Of each function that a script calls, the names of its keyword arguments."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    names = [getattr(node.func, "attr", getattr(node.func, "id", "")) for node in calls]
    return {name: {k.arg for k in node.keywords} for name, node in zip(names, calls, strict=True)}


def test_hostile_names_stay_names(tmp_path):
    """A model name with quotes, line ends and YAML in it is a string in the file, and one line in its comments."""
    name = "x'\n# y: !!python/object {}\n\"); import os #"
    for tool in ("trl", "python"):
        text = export(tmp_path, CONFIGS["qlora"], tool, model=name).text
        if tool == "trl":
            assert name == yaml.safe_load(text)["model_name_or_path"]
        else:
            constants = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
            assert name in constants
    document = planned(tmp_path, QLORA, name=name)
    head = export_plan(document, Target.TRL, model="m", data="d", output="o", learning_rate=1.0).text
    assert not re.search(r"^(?!#).*import os", head, re.MULTILINE)


def test_a_change_is_told_in_the_words_of_the_file():
    """The keys that lead from one config to the other; what the file can't say, where else it is set."""
    before = config_from_json(QLORA | {"checkpointing": "none"})

    def told(tool, **changed):
        return settings_between(tool, before, config_from_json(before.to_json() | changed))

    assert "gradient_checkpointing: true" in told("trl", checkpointing="non-reentrant")
    assert ("micro_batch_size: 2", "gradient_accumulation_steps: 8") == told(
        "axolotl", micro_batch=2, accumulation_steps=8
    )
    assert ("disable_gradient_checkpointing: false", "use_reentrant_gc: false") == told(
        "llama-factory", checkpointing="non-reentrant"
    )
    assert ("checkpointing: reentrant",) == told("", checkpointing="reentrant")
    assert "in the environment" in told("llama-factory", allocator="expandable")[0]
    assert ("use_liger_kernel: true", table("trl").elsewhere["loss"]) == told("trl", loss="liger")
    assert (table("axolotl").elsewhere["cast_adapter_inputs"],) == told("axolotl", cast_adapter_inputs=False)
