"""Which weights learn: LoRA adapters, the last layers, or all of them."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from advisor.errors import AdvisorError
from advisor.fast_adapters import may_fuse_adapters
from advisor.records import QUANTISED, Autocast, Checkpointing, LoraVariant, Method, TrainConfig
from advisor.step.dtypes import adapter_dtype
from advisor.step.fused import fuse_adapters
from advisor.step.layers import decoder_layers
from advisor.step.optimizers import check_optimizer

_MAGNITUDE = "lora_magnitude_vector"  # PEFT's name for what DoRA learns beside the two matrices


def check_trainable(config: TrainConfig) -> None:
    """Refuse what can't learn.

    Raises: AdvisorError for full or last-layers training of quantised weights, and an optimizer that is not there.
    """
    check_optimizer(config.optimizer)
    if not config.cast_adapter_inputs and config.autocast is Autocast.NONE:
        raise AdvisorError(
            "Without autocast the adapters' inputs must be cast to their dtype.",
            why="a product of two dtypes is refused; only autocast casts the weights instead",
            fix="use autocast bf16 or fp16, or leave cast_adapter_inputs on",
        )
    if config.fused_adapters and not may_fuse_adapters(config):
        raise AdvisorError(
            "These adapters can't be fused into their layers.",
            why="only plain LoRA without dropout, over 16- or 32-bit or NF4 weights, is products and a sum",
            fix="leave fused_adapters off",
        )
    if config.method is not Method.LORA and config.precision in QUANTISED:
        raise AdvisorError(
            f"{config.method.value} training can't update {config.precision.value} weights.",
            why="bitsandbytes' quantised weights have no gradient",
            fix="use method lora, or precision bf16, fp16 or fp32",
        )


def adapt(model: PreTrainedModel, config: TrainConfig) -> PreTrainedModel | PeftModel:
    """The model with the weights that the method trains ready to learn, all others frozen."""
    check_trainable(config)
    if config.kbit_prepare:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if config.method is Method.LORA:
        return _with_lora(model, config)
    if config.method is Method.LAST_LAYERS:
        _freeze_all_but_last(model, config.trainable_layers)
    return model


def cast_adapters(model: nn.Module, config: TrainConfig) -> None:
    """Give the adapters the dtype that the config asks for.

    PEFT makes them fp32 over a 16-bit base and TRL casts them to bf16 over a quantised one, whatever
    the autocast dtype; so this runs after each of them. DoRA's magnitudes stay fp32, as both leave them: a step of
    theirs is smaller than bf16 can show (trl 1.16, sft_trainer.py).
    """
    if config.method is not Method.LORA:
        return
    wanted = adapter_dtype(config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != wanted and _MAGNITUDE not in name:
            parameter.data = parameter.data.to(wanted)


def _with_lora(model: PreTrainedModel, config: TrainConfig) -> PeftModel:
    targets = config.lora_targets
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=config.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_dora=config.lora_variant is LoraVariant.DORA,
        use_rslora=config.lora_variant is LoraVariant.RSLORA,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise AdvisorError(
            "PEFT can't place the adapters.",
            why=str(error).splitlines()[0],
            fix='name modules that the model has, or use lora_targets "all-linear"',
        ) from error
    cast_adapters(adapted, config)
    if not config.cast_adapter_inputs:
        _keep_inputs(adapted)
    if config.fused_adapters:
        fuse_adapters(adapted)
    if config.checkpointing is not Checkpointing.NONE:
        # A checkpointed layer whose input needs no gradient gives none to its adapters.
        adapted.enable_input_require_grads()
    return adapted


def _keep_inputs(model: PeftModel) -> None:
    """Let adapters read what their layer reads, in its dtype.

    PEFT casts the input of an unquantised layer's adapter to the adapter's fp32, and autocast casts that back to 16 bits:
    the same numbers, at the price of two copies and of one more tensor kept for the backward pass, for every adapter.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def _freeze_all_but_last(model: PreTrainedModel, count: int) -> None:
    layers = decoder_layers(model)
    if count > len(layers):
        raise AdvisorError(
            f"trainable_layers = {count}, but the model has {len(layers)} layers.",
            fix=f"use 1 to {len(layers)}, or method full",
        )
    model.requires_grad_(requires_grad=False)
    for layer in layers[-count:]:
        layer.requires_grad_(requires_grad=True)


def count_trainable(model: nn.Module) -> int:
    """Weights that learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def trainable_dtypes(model: nn.Module) -> set[torch.dtype]:
    """Dtypes of the weights that learn."""
    return {p.dtype for p in model.parameters() if p.requires_grad}
