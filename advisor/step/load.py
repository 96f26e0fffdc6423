"""From a source of weights to a model on a device, quantised as it loads, by transformers' own loader."""

import os
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from advisor.errors import AdvisorError
from advisor.records import Attention, Precision, TrainConfig
from advisor.step.dtypes import autocast_dtype, weight_dtype
from advisor.step.grouped import repeat_key_heads_on_old_cards
from advisor.step.observe import Observer
from advisor.step.weights import Checkpoint, WeightSource, build_config, lazy_state_dict

# One loader thread: with several, the order of allocations, and so the reserved peak, is a matter of luck.
_ONE_LOADER_THREAD = {"HF_DEACTIVATE_ASYNC_LOAD": "1"}


def load_model(
    source: WeightSource, config: TrainConfig, device: torch.device, observer: Observer
) -> PreTrainedModel:
    """The base model on the device, ready to be adapted.

    Raises: AdvisorError where transformers can't build or load it.
    """
    os.environ.update(_ONE_LOADER_THREAD)
    repeat_key_heads_on_old_cards()
    options = _options(config, device)
    if isinstance(source, Checkpoint):
        model = _from_checkpoint(source.path, options)
    else:
        model_config = build_config(source.config)
        model_config.dtype = weight_dtype(config)
        model = causal_class(model_config).from_pretrained(
            None,
            config=model_config,
            state_dict=lazy_state_dict(model_config, source, observer),
            **options,
        )
    model.config.use_cache = False
    _keep_gradients_on_cpu(model)
    _make_savable(model)
    return model


def quantization(config: TrainConfig) -> BitsAndBytesConfig | None:
    """Bitsandbytes' view of the precision, or None where the weights stay as they are."""
    if config.precision is Precision.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)
    if config.precision not in (Precision.NF4, Precision.NF4_SINGLE):
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=config.precision is Precision.NF4,
        bnb_4bit_compute_dtype=autocast_dtype(config) or weight_dtype(config),
    )


def _options(config: TrainConfig, device: torch.device) -> dict[str, Any]:
    options: dict[str, Any] = {"dtype": weight_dtype(config), "device_map": {"": device}}
    quantized = quantization(config)
    if quantized is not None:
        options["quantization_config"] = quantized
    if config.attention is not Attention.AUTO:
        options["attn_implementation"] = config.attention.value
    return options


def causal_class(config: PretrainedConfig) -> type[PreTrainedModel]:
    """The class of the model that predicts the next token.

    Raises: AdvisorError where the architecture has none.
    """
    # Encoders have a causal head too, for use as a decoder of something else; they also fill in masked words.
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        raise AdvisorError(
            f"transformers has no causal language model for {config.model_type!r}.",
            why="only decoder models that predict the next token are trained here",
            fix="use the config of the text model, or another model",
        )
    found: type[PreTrainedModel] = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]  # type: ignore[assignment]
    return found


def _from_checkpoint(path: str, options: dict[str, Any]) -> PreTrainedModel:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise AdvisorError(
            f"transformers can't load {path!r}.",
            why=str(error).splitlines()[0],
            fix="give a directory with config.json and *.safetensors, or a hub name you can reach",
        ) from error
    missing = loaded[1]["missing_keys"]
    if missing:
        # transformers fills them with random numbers, and says so in a log line.
        raise AdvisorError(
            f"The weights in {path!r} are not whole.",
            why=f"{len(missing)} are missing, such as {min(missing)}",
            fix="copy the directory again, or give the weights of a causal language model",
        )
    model: PreTrainedModel = loaded[0]
    return model


def _make_savable(model: PreTrainedModel) -> None:
    # transformers refuses at saving, so after the training, some generation settings that it loaded.
    settings = model.generation_config
    if settings is None:
        return
    try:
        settings.validate(strict=True)
    except ValueError:
        model.generation_config = GenerationConfig.from_model_config(model.config)


def _keep_gradients_on_cpu(model: PreTrainedModel) -> None:
    # bitsandbytes 0.50 repacks 4-bit weights for AVX512-BF16 in an eval pass; the next training
    # pass then gives its input no gradient, silently.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
