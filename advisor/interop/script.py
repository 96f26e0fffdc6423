"""A plan as a short script to read, change and run: with transformers, PEFT and TRL, or with unsloth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advisor.errors import AdvisorError
from advisor.interop.writing import Missing
from advisor.records import (
    Allocator,
    Attention,
    Autocast,
    Checkpointing,
    LoraVariant,
    Loss,
    Method,
    Precision,
    TrainConfig,
)

_QUANTISED = {Precision.INT8: "int8", Precision.NF4: "nf4", Precision.NF4_SINGLE: "nf4"}
_DTYPES = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}
_UNSLOTH_OWN = "unsloth's kernels, loss and checkpointing take the place of the planned ones, and hold less"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The text of a script, without its first comment."""

    text: str
    missing: tuple[Missing, ...]
    notes: tuple[str, ...] = ()


def python_script(config: TrainConfig, model: str, fill: Mapping[str, Any]) -> Script:
    """The plan with transformers, PEFT and TRL; everything in it is as planned but what is missing."""
    lora, frozen = config.method is Method.LORA, config.method is Method.LAST_LAYERS
    peft = ["from peft import LoraConfig"] if lora else []
    lines = [
        *_allocator(config),
        "import torch",
        "from datasets import load_dataset",
        *peft,
        f"from transformers import {', '.join(_imports(config))}",
        "from trl import SFTConfig, SFTTrainer",
        "",
        *([] if config.loss is Loss.CHUNKED else _OWN_LOSS),
        f"MODEL = {model!r}",
        "on_gpu = torch.cuda.is_available()",
        "model = AutoModelForCausalLM.from_pretrained(",
        "    MODEL,",
        f"    dtype={_weights(config)},",
        '    device_map={"": 0 if on_gpu else "cpu"},',
        *_quantisation(config),
        *(
            []
            if config.attention is Attention.AUTO
            else [f"    attn_implementation={config.attention.value!r},"]
        ),
        ")",
        "model.config.use_cache = False",
        *(_freeze(config) if frozen else []),
        *_arguments(config, fill),
        f"trainer = {'SFTTrainer' if config.loss is Loss.CHUNKED else 'OwnLossTrainer'}(",
        "    model=model,",
        "    args=arguments,",
        f"    train_dataset=load_dataset('json', data_files={fill['data']!r}, split='train'),",
        "    processing_class=AutoTokenizer.from_pretrained(MODEL),",
        *(_lora(config, fill) if lora else []),
        ")",
        *(_adapters(config) if lora else []),
        *(_INPUTS if lora and not config.cast_adapter_inputs else []),
        *(_LIGER if config.loss is Loss.LIGER else []),
        "trainer.train()",
        f"trainer.save_model({fill['output']!r})",
    ]
    missing = []
    if config.kbit_prepare:
        missing.append(Missing(field="kbit_prepare", wanted=True, instead=False, where=""))
    if config.fused_adapters:
        missing.append(Missing(field="fused_adapters", wanted=True, instead=False, where="advisor run"))
    missing += _some_layers(config)
    return Script(text="\n".join(lines) + "\n", missing=tuple(missing))


def unsloth_script(config: TrainConfig, model: str, fill: Mapping[str, Any]) -> Script:
    """The plan with unsloth, whose kernels replace much of the step.

    Raises: AdvisorError where unsloth does not train so.
    """
    if config.method is Method.LAST_LAYERS or config.precision is Precision.NF4_SINGLE:
        what = (
            "the last layers alone"
            if config.method is Method.LAST_LAYERS
            else "NF4 without double quantisation"
        )
        raise AdvisorError(f"unsloth does not train {what}.", fix="export to python")
    lora = config.method is Method.LORA
    checkpointed = config.checkpointing is not Checkpointing.NONE
    quantised = config.precision in (Precision.NF4, Precision.INT8)
    lines = [
        *_allocator(config),
        "from unsloth import FastLanguageModel  # before trl and transformers, which it patches",
        "import torch",
        "from datasets import load_dataset",
        "from trl import SFTConfig, SFTTrainer",
        "",
        "model, tokenizer = FastLanguageModel.from_pretrained(",
        f"    model_name={model!r},",
        f"    max_seq_length={config.sequence_length},",
        f"    dtype={_weights(config)},",
        f"    load_in_4bit={config.precision is Precision.NF4},",
        f"    load_in_8bit={config.precision is Precision.INT8},",
        f"    load_in_16bit={lora and not quantised},",
        f"    full_finetuning={not lora},",
        f"    use_gradient_checkpointing={checkpointed},",
        ")",
        *(_unsloth_lora(config, fill, checkpointed=checkpointed) if lora else []),
        *_arguments(config, fill, checkpoints=False),
        "trainer = SFTTrainer(",
        "    model=model,",
        "    args=arguments,",
        f"    train_dataset=load_dataset('json', data_files={fill['data']!r}, split='train'),",
        "    processing_class=tokenizer,",
        ")",
        "trainer.train()",
        f"trainer.save_model({fill['output']!r})",
    ]
    missing = []
    if config.attention is not Attention.AUTO:
        missing.append(
            Missing(field="attention", wanted=config.attention.value, instead="unsloth's", where="")
        )
    if lora and config.adapter_dtype == "bf16":
        missing.append(Missing(field="adapter_dtype", wanted="bf16", instead="unsloth's", where=""))
    if config.lora_variant is not LoraVariant.NONE:
        wanted = config.lora_variant.value
        missing.append(Missing(field="lora_variant", wanted=wanted, instead="none", where=""))
    missing += _some_layers(config)
    return Script(text="\n".join(lines) + "\n", missing=tuple(missing), notes=(_UNSLOTH_OWN,))


def _imports(config: TrainConfig) -> list[str]:
    quantised = ["BitsAndBytesConfig"] if config.precision in _QUANTISED else []
    return [
        "AutoModelForCausalLM",
        "AutoTokenizer",
        *quantised,
        *([] if config.loss is Loss.CHUNKED else ["Trainer"]),
    ]


def _some_layers(config: TrainConfig) -> list[Missing]:
    if config.checkpointed_layers is None:
        return []
    return [Missing(field="checkpointed_layers", wanted=config.checkpointed_layers, instead="all", where="")]


def _allocator(config: TrainConfig) -> list[str]:
    if config.allocator is not Allocator.EXPANDABLE:
        return []
    return ["import os", "", 'os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"', ""]


def _weights(config: TrainConfig) -> str:
    """Dtype of what is not quantised, as `step/dtypes.py` has it."""
    if config.precision not in _QUANTISED:
        return _DTYPES[config.precision.value]
    return _DTYPES["fp16" if config.autocast is Autocast.FP16 else "bf16"]


def _quantisation(config: TrainConfig) -> list[str]:
    if config.precision not in _QUANTISED:
        return []
    if config.precision is Precision.INT8:
        return ["    quantization_config=BitsAndBytesConfig(load_in_8bit=True),"]
    compute = _weights(config) if config.autocast is Autocast.NONE else _DTYPES[config.autocast.value]
    return [
        "    quantization_config=BitsAndBytesConfig(",
        "        load_in_4bit=True,",
        "        bnb_4bit_quant_type='nf4',",
        f"        bnb_4bit_use_double_quant={config.precision is Precision.NF4},",
        f"        bnb_4bit_compute_dtype={compute},",
        "    ),",
    ]


def _freeze(config: TrainConfig) -> list[str]:
    return [
        "model.requires_grad_(False)",
        f"for layer in model.get_decoder().layers[-{config.trainable_layers}:]:",
        "    layer.requires_grad_(True)",
    ]


def _arguments(config: TrainConfig, fill: Mapping[str, Any], *, checkpoints: bool = True) -> list[str]:
    checkpointed = config.checkpointing is not Checkpointing.NONE
    reentrant = config.checkpointing is Checkpointing.REENTRANT
    options: dict[str, bool] = {"use_reentrant": reentrant}
    if config.checkpointing is Checkpointing.OFFLOADED:
        options["offload"] = True
    kwargs = [f"    gradient_checkpointing_kwargs={options},"] if checkpointed and checkpoints else []
    return [
        "arguments = SFTConfig(",
        f"    output_dir={fill['output']!r},",
        f"    per_device_train_batch_size={config.micro_batch},",
        f"    gradient_accumulation_steps={config.accumulation_steps},",
        # unsloth's own checkpointing is asked for where the model is made
        *([f"    gradient_checkpointing={checkpointed},"] if checkpoints or not checkpointed else []),
        *kwargs,
        f"    max_length={config.sequence_length},",
        "    packing=True,",
        "    packing_strategy='wrapped',  # blocks of exactly max_length tokens, as planned",
        f"    bf16={config.autocast is Autocast.BF16},",
        f"    fp16={config.autocast is Autocast.FP16},",
        f"    optim={config.optimizer!r},",
        f"    learning_rate={fill['learning_rate']},",
        "    lr_scheduler_type='cosine',",
        "    num_train_epochs=1,",
        "    use_cpu=not torch.cuda.is_available(),",
        ")",
    ]


def _lora(config: TrainConfig, fill: Mapping[str, Any]) -> list[str]:
    return [
        "    peft_config=LoraConfig(",
        f"        r={config.lora_rank},",
        f"        lora_alpha={fill['lora_alpha']},",
        f"        lora_dropout={config.lora_dropout},",
        f"        target_modules={_targets(config)!r},",
        *(
            [f"        use_{config.lora_variant.value}=True,"]
            if config.lora_variant is not LoraVariant.NONE
            else []
        ),
        "        task_type='CAUSAL_LM',",
        "    ),",
    ]


def _adapters(config: TrainConfig) -> list[str]:
    return [
        "# trl casts adapters over a quantised base to bf16, PEFT others to fp32; the plan says which.",
        "for parameter in trainer.model.parameters():",
        "    if parameter.requires_grad:",
        f"        parameter.data = parameter.data.to({_DTYPES[config.adapter_dtype]})",
    ]


_INPUTS = (
    "# PEFT would cast what adapters read to fp32, and autocast back: two copies of every activation for nothing.",
    "for module in trainer.model.modules():",
    "    if hasattr(module, 'cast_input_dtype_enabled'):",
    "        module.cast_input_dtype_enabled = False",
)


_OWN_LOSS = (
    "",
    "class OwnLossTrainer(SFTTrainer):",
    '    """trl\'s, with the loss that the model itself computes in place of trl\'s chunked one."""',
    "",
    "    compute_loss = Trainer.compute_loss",
    "",
    "",
)
_LIGER = (
    "# Only here, for given to SFTConfig trl leaves Liger's loss out. Needs liger-kernel and, for Triton, a C compiler.",
    "trainer.args.use_liger_kernel = on_gpu",
)


def _unsloth_lora(config: TrainConfig, fill: Mapping[str, Any], *, checkpointed: bool) -> list[str]:
    return [
        "model = FastLanguageModel.get_peft_model(",
        "    model,",
        f"    r={config.lora_rank},",
        f"    target_modules={_targets(config)!r},",
        f"    lora_alpha={fill['lora_alpha']},",
        f"    lora_dropout={config.lora_dropout},",
        f"    use_gradient_checkpointing={checkpointed},",
        ")",
    ]


def _targets(config: TrainConfig) -> Any:
    return config.lora_targets if isinstance(config.lora_targets, str) else list(config.lora_targets)
