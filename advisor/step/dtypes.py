"""Which torch dtype each word of a config stands for."""

import torch

from advisor.records import Autocast, Precision, TrainConfig

_BY_NAME = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def weight_dtype(config: TrainConfig) -> torch.dtype:
    """Dtype of the weights that are not quantised: embedding, head and norms of an 8- or 4-bit model.

    A quantised base keeps those in the dtype it computes in: fp16 under fp16 autocast, else bf16.
    """
    if config.precision in (Precision.FP32, Precision.FP16, Precision.BF16):
        return _BY_NAME[config.precision.value]
    return torch.float16 if config.autocast is Autocast.FP16 else torch.bfloat16


def autocast_dtype(config: TrainConfig) -> torch.dtype | None:
    """Dtype that autocast computes in, or None where it is off."""
    return None if config.autocast is Autocast.NONE else _BY_NAME[config.autocast.value]


def adapter_dtype(config: TrainConfig) -> torch.dtype:
    """Dtype of the LoRA weights, so of their gradients and optimizer states."""
    return _BY_NAME[config.adapter_dtype]
