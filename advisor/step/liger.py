"""Whether Liger's kernels can be used: transformers itself only logs that it has none for a model."""

from typing import Any

import torch
from transformers.utils.import_utils import is_liger_kernel_available

from advisor.errors import AdvisorError, ExitCode
from advisor.records import Loss


def check_loss(loss: Loss, device: torch.device) -> None:
    """Refuse Liger where its package or a card is missing.

    Raises: AdvisorError.
    """
    if loss is Loss.LIGER and device.type == "cpu":
        raise AdvisorError(
            "The loss liger needs an NVIDIA card.",
            why="its kernels are written for Triton",
            fix="use the chunked or the stock loss",
            exit_code=ExitCode.ENVIRONMENT,
        )
    if loss is Loss.LIGER and not is_liger_kernel_available():
        raise AdvisorError(
            "The loss liger needs the package liger-kernel.",
            fix="pip install 'liger-kernel>=0.8.5', or use --loss chunked, which needs about as little memory",
            exit_code=ExitCode.ENVIRONMENT,
        )


def check_has_kernels(model: Any, loss: Loss) -> None:
    """Refuse Liger for an architecture that it has no kernels for.

    Raises: AdvisorError naming the architecture.
    """
    if loss is not Loss.LIGER:
        return
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    kind = model.config.model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise AdvisorError(
            f"liger-kernel has no kernels for a {kind!r} model.",
            why="transformers would train it without them, and say so only in its log",
            fix="use the chunked or the stock loss",
        )
