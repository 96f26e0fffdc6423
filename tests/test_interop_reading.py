"""Other tools' configs: what they mean, what was assumed, and that no key is passed over in silence."""

import json

import pytest
import yaml
from interop_parts import EXAMPLES, TINY, reading

from advisor.catalog.gpus import find_gpu
from advisor.errors import AdvisorError
from advisor.interop.reading import detected, read_config
from advisor.interop.table import FORMATS, peft_targets, table
from advisor.records import config_from_json

MEANT = {
    "trl": {
        "precision": "nf4", "micro_batch": 4, "accumulation_steps": 4, "checkpointing": "non-reentrant", "lora_rank": 32,
        "lora_dropout": 0.05, "adapter_dtype": "bf16", "loss": "chunked",
    },
    "axolotl": {
        "precision": "nf4", "micro_batch": 2, "accumulation_steps": 4, "sequence_length": 4096, "checkpointing": "reentrant",
        "optimizer": "paged_adamw_32bit", "lora_rank": 32, "lora_dropout": 0.05, "attention": "flash_attention_2", "evaluates": True,
        "allocator": "expandable",
    },
    "llama-factory": {
        "precision": "nf4-single", "accumulation_steps": 8, "checkpointing": "reentrant", "lora_rank": 8,
    },
}  # fmt: skip

# As the README of axolotl's plugin has it.
LIGER = {
    "plugins": ["axolotl.integrations.liger.LigerPlugin"],
    "liger_rope": True,
    "liger_rms_norm": True,
    "liger_glu_activation": True,
    "liger_layer_norm": True,
    "liger_fused_linear_cross_entropy": True,
    "val_set_size": 0,
}


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        ("trl", {}, (False, None)),
        ("trl", {"eval_strategy": False}, (False, None)),  # as YAML reads `no`
        ("trl", {"eval_strategy": "steps"}, (True, 8)),
        ("trl", {"eval_strategy": "epoch", "per_device_eval_batch_size": 2}, (True, 2)),
        ("llama-factory", {"do_eval": True}, (True, 8)),
        ("llama-factory", {"eval_strategy": "steps", "per_device_eval_batch_size": 1}, (True, 1)),
        ("axolotl", {"val_set_size": 0}, (False, None)),
        ("axolotl", {"val_set_size": None, "test_datasets": [{"path": "some"}]}, (True, None)),
        ("axolotl", {"eval_batch_size": 4}, (True, 4)),
    ],
)
def test_how_a_file_evaluates(name, changed, expected):
    """Where it does not say in what batches: eight sequences there, and as in training for axolotl."""
    config = reading(name, **changed).config

    assert expected == (config.evaluates, config.evaluation_batch)


@pytest.mark.parametrize("name", FORMATS)
def test_the_tools_own_examples_mean_what_the_tools_do(name):
    """As their sources say: defaults, quantisation, kind of checkpointing, dtype of the adapters."""
    read = reading(name)

    assert config_from_json(MEANT[name]) == read.config
    assert read.model.name in ("llama-3.1-8b", "llama-3.2-1b", "llama-3-8b")
    assert () == read.unknown


@pytest.mark.parametrize("name", FORMATS)
def test_every_key_is_accounted_for(name):
    """It decides, has no bearing, is told as an assumption, or is not understood."""
    read = reading(name, unheard_of_key=1)
    mapping = table(name)
    told = " ".join(read.assumptions)
    caveats = {caveat.key for caveat in mapping.caveats}

    assert ("unheard_of_key",) == read.unknown
    for key, value in yaml.safe_load(EXAMPLES[name]).items():
        harmless = key in caveats and any(
            value == c.harmless or value in c.harmless for c in mapping.caveats if c.key == key
        )
        assert key in read.ignored or key in mapping.decisive or harmless or key in told, key


@pytest.mark.parametrize("name", FORMATS)
def test_defaults_are_the_tools_own_and_told(name):
    """A file that says little takes the tool's default for each key that decides."""
    key = table(name).model[0]
    least = {"adapter": "lora"} if name == "axolotl" else {}  # its full fine-tune mixes dtypes and is refused
    read = reading(name, yaml.safe_dump({key: "8B"}), **least)
    told = dict(read.defaults)

    assert told
    assert all(table(name).defaults.get(k, "unset") == value for k, value in told.items())
    expected = {
        "trl": ("full", "fp32", 8, 1024),
        "axolotl": ("lora", "bf16", 1, 512),
        "llama-factory": ("lora", "bf16", 8, 2048),
    }[name]
    config = read.config
    assert expected == (
        config.method.value,
        config.precision.value,
        config.micro_batch,
        config.sequence_length,
    )


@pytest.mark.parametrize(
    ("name", "changed", "field", "value"),
    [
        ("trl", {"fp16": True}, "autocast", "fp16"),
        ("trl", {"fp16": False, "bf16": False}, "autocast", "none"),
        ("trl", {"gradient_checkpointing": False}, "checkpointing", "none"),
        ("trl", {"gradient_checkpointing_kwargs": {"use_reentrant": True}}, "checkpointing", "reentrant"),
        ("trl", {"gradient_checkpointing_kwargs": '{"use_reentrant": true}'}, "checkpointing", "reentrant"),
        ("trl", {"use_bnb_nested_quant": None}, "precision", "nf4-single"),
        ("trl", {"load_in_4bit": False, "load_in_8bit": True}, "precision", "int8"),
        ("trl", {"load_in_4bit": False}, "adapter_dtype", "fp32"),
        ("trl", {"use_dora": True}, "lora_variant", "dora"),
        ("trl", {"gradient_checkpointing_kwargs": {"offload": True}}, "checkpointing", "offloaded"),
        ("axolotl", {"peft_use_rslora": True}, "lora_variant", "rslora"),
        ("llama-factory", {"use_dora": True}, "lora_variant", "dora"),
        ("trl", {"dtype": None}, "kbit_prepare", True),
        ("trl", {"lora_target_modules": None}, "lora_targets", ("q_proj", "v_proj")),
        ("trl", {"label_smoothing_factor": 0.1}, "loss", "stock"),
        ("trl", {"env": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}}, "allocator", "expandable"),
        ("axolotl", {"gradient_checkpointing_kwargs": {"use_reentrant": False}}, "checkpointing", "non-reentrant"),
        ("axolotl", {"bnb_config_kwargs": {"bnb_4bit_use_double_quant": False}}, "precision", "nf4-single"),
        ("axolotl", {"adapter": "lora", "load_in_4bit": False, "load_in_8bit": True}, "precision", "int8"),
        ("axolotl", {"adapter": "lora", "load_in_4bit": False}, "precision", "bf16"),
        ("axolotl", {"lora_target_linear": None, "lora_target_modules": ["q_proj"]}, "lora_targets", ("q_proj",)),
        ("axolotl", {"peft_autocast_adapter_dtype": False}, "adapter_dtype", "bf16"),
        ("axolotl", {"flash_attention": None}, "attention", "auto"),
        ("trl", {"use_liger_kernel": True}, "loss", "chunked"),
        ("axolotl", LIGER, "loss", "liger"),
        ("axolotl", LIGER | {"liger_glu_activation": None, "liger_swiglu": True}, "loss", "liger"),
        ("axolotl", LIGER | {"liger_rope": False}, "loss", "chunked"),
        ("axolotl", LIGER | {"val_set_size": 0.1}, "loss", "stock"),
        ("llama-factory", {"enable_liger_kernel": True, "eval_strategy": "steps"}, "loss", "stock"),
        ("llama-factory", {"use_liger_kernel": True, "eval_strategy": "steps"}, "loss", "liger"),
        ("axolotl", LIGER | {"liger_fused_linear_cross_entropy": False}, "loss", "stock"),
        ("llama-factory", {"enable_liger_kernel": True}, "loss", "liger"),
        ("llama-factory", {"use_liger_kernel": True}, "loss", "liger"),
        ("llama-factory", {"enable_liger_kernel": True, "use_dft_loss": True}, "loss", "stock"),
        ("llama-factory", {"enable_liger_kernel": True, "label_smoothing_factor": 0.1}, "loss", "stock"),
        ("llama-factory", {"quantization_bit": 8}, "precision", "int8"),
        ("llama-factory", {"double_quantization": None}, "precision", "nf4"),
        ("llama-factory", {"use_reentrant_gc": False}, "checkpointing", "non-reentrant"),
        ("llama-factory", {"disable_gradient_checkpointing": True}, "checkpointing", "none"),
        ("llama-factory", {"lora_target": "q_proj,v_proj"}, "lora_targets", ("q_proj", "v_proj")),
        ("llama-factory", {"flash_attn": "fa2"}, "attention", "flash_attention_2"),
        ("llama-factory", {"quantization_bit": None, "finetuning_type": "full"}, "precision", "fp32"),
        ("llama-factory", {"quantization_bit": None, "finetuning_type": "full", "pure_bf16": True}, "precision", "bf16"),
        ("llama-factory", {"quantization_bit": None, "finetuning_type": "freeze"}, "trainable_layers", 2),
    ],
)  # fmt: skip
def test_one_changed_key_changes_one_field(name, changed, field, value):
    """As the tool's source has it; see `formats/*.toml` for where."""
    assert value == getattr(reading(name, **changed).config, field)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("trl", {"use_liger_kernel": True}),
        ("axolotl", LIGER | {"liger_rope": False}),
        ("axolotl", LIGER | {"liger_fused_linear_cross_entropy": False}),
    ],
)
def test_a_part_of_ligers_kernels_is_told_not_to_be_counted(name, changed):
    """All of them is what is simulated; then nothing is left to say."""
    added = set(reading(name, **changed).assumptions) - set(reading(name).assumptions)

    assert 1 == len(added)
    assert "hold less than what is counted" in added.pop()
    assert reading("axolotl", **LIGER).assumptions == reading("axolotl", val_set_size=0).assumptions


def test_auto_asks_the_card():
    """Axolotl's bf16: auto is fp16 on a card without bf16."""
    on = {
        slug: reading("axolotl", gpu=find_gpu(slug)[0]).config.autocast.value for slug in ("t4", "rtx-4090")
    }

    assert {"t4": "fp16", "rtx-4090": "bf16"} == on


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("trl", {"deepspeed": "zero3.json"}, "DeepSpeed"),
        ("trl", {"use_dora": True, "use_rslora": True}, "DoRA"),
        ("trl", {"lora_modules_to_save": ["lm_head"]}, "whole modules"),
        ("trl", {"bnb_4bit_quant_type": "fp4"}, "NF4"),
        ("trl", {"per_device_train_batchsize": 4}, "per_device_train_batch_size"),
        ("trl", {"per_device_train_batch_size": 0}, "per_device_train_batch_size"),
        ("trl", {"per_device_train_batch_size": "4"}, "per_device_train_batch_size"),
        ("trl", {"lora_target_modules": r".*\.(q_proj|v_proj)"}, "pattern"),
        ("trl", {"model_name_or_path": "nobody/nothing-8b"}, "nothing-8b"),
        ("trl", {"model_name_or_path": None}, "names no model"),
        ("axolotl", {"rl": "dpo"}, "supervised"),
        ("axolotl", {"fsdp_config": {"fsdp_version": 2}}, "FSDP"),
        ("axolotl", {"adapter": "lora"}, "qlora alone"),
        ("axolotl", {"adapter": None, "load_in_4bit": None, "flash_attention": None}, "fp32"),
        ("axolotl", {"unfrozen_parameters": ["lm_head"]}, "regular expressions"),
        ("axolotl", LIGER | {"plugins": None}, "LigerPlugin"),
        ("axolotl", LIGER | {"cut_cross_entropy": True}, "takes one of"),
        (
            "llama-factory",
            {"use_liger_kernel": True, "liger_kernel_config": {"rope": False}},
            "Liger's kernels",
        ),
        ("llama-factory", {"stage": "dpo"}, "supervised"),
        ("llama-factory", {"use_galore": True}, "GaLore"),
        ("llama-factory", {"quantization_bit": None, "finetuning_type": "oft"}, "OFT"),
    ],
)
def test_what_can_not_be_answered_for_is_an_error_that_names_the_key(name, changed, said):
    """Never a number for another step than the one that was asked for."""
    with pytest.raises(AdvisorError) as told:
        reading(name, **changed)

    assert said in str(told.value)
    assert f"{name}.yml" in str(told.value) or "nothing-8b" in said or "pattern" in said


def test_a_plan_is_read_with_its_card(tmp_path):
    """The project's own file: model, config and card."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_document()))

    read = read_config(plan)

    assert ("plan", "Tesla T4") == (read.format, read.gpu.name)
    assert config_from_json({"precision": "nf4"}) == read.config


def plan_document():
    """The least that a plan holds."""
    sizes = dict.fromkeys(("memory_bytes", "board_bytes", "usable_bytes", "context_bytes"), 1 << 30)
    return {
        "schema": 1,
        "kind": "plan",
        "model": {"name": "tiny", "parameters": 1, "source": "a test", "config": TINY},
        "gpu": {"name": "Tesla T4"} | sizes,
        "config": {"precision": "nf4"},
        "estimate": {},
    }


def test_the_format_is_told_by_the_keys():
    """Each example by its own, a plan by its kind; what tells nothing is an error."""
    documents = {name: yaml.safe_load(text) for name, text in EXAMPLES.items()}

    assert {name: name for name in EXAMPLES} == {name: detected(d, "x.yml") for name, d in documents.items()}
    assert "plan" == detected(plan_document(), "x.json")
    for document in ({"model_name_or_path": "8B"}, {"services": {}, "volumes": {}}, {}):
        with pytest.raises(AdvisorError, match="--format"):
            detected(document, "x.yml")


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_names_only_keys_that_the_tool_has(name):
    """A slip in the table would never fire, silently."""
    mapping = table(name)
    tops = {key.partition(".")[0] for key in (*mapping.decisive, *mapping.defaults, *mapping.written)}
    tops |= {key.partition(".")[0] for also in mapping.also for key in also.write}
    tops |= {caveat.key.partition(".")[0] for caveat in mapping.caveats}
    shared = {
        "fsdp",
        "fsdp_config",
        "deepspeed",
        "neftune_noise_alpha",
    }  # some tools have dropped what transformers has

    assert len(tops) > 40
    assert not tops - mapping.accepted - {"card", "model", *shared}
    assert set(mapping.fields) >= set(config_from_json({}).to_json()) - {"trainable_layers"}


def test_peft_defaults_are_pefts_own():
    """The table beside the installed PEFT."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as THEIRS

    assert len(peft_targets()) > 15
    assert {kind: list(names) for kind, names in peft_targets().items()} == {
        k: THEIRS[k] for k in peft_targets()
    }


def test_trl_defaults_are_trls_own():
    """The table beside the installed trl's parser, which also has every key of the list of accepted ones."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    theirs = {action.dest: action.default for action in reversed(parser._actions)}  # --no_… come second
    ours = {k: v for k, v in table("trl").defaults.items() if "." not in k}

    assert len(ours) > 12
    assert ours == {key: getattr(theirs[key], "value", theirs[key]) for key in ours}
    assert table("trl").accepted == (set(theirs) - {"help"}) | {"env"}
