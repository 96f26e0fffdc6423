"""A hand-written loop, as scripts have it: it keeps the model's output, so the logits, through backward."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from datasets import Dataset

from advisor.records import Loss, TrainConfig
from advisor.step.checkpoint import checkpointing_options, keep_last_layers
from advisor.step.dtypes import autocast_dtype
from advisor.step.observe import Observer, Phase
from advisor.step.optimizers import optimizer_class


def run_bare_loop(  # noqa: PLR0913 - what a loop needs
    model: Any,  # PreTrainedModel or PeftModel
    config: TrainConfig,
    data: Dataset,
    *,
    steps: int,
    device: torch.device,
    observer: Observer,
) -> torch.optim.Optimizer:
    """Train `steps` optimizer steps the plain way; gives the optimizer, with its states.

    The output of a micro-batch lives until the next one of the step replaces it, or the step ends.
    """
    _enable_checkpointing(model, config)
    model.train()
    optimizer = _optimizer(model, config)
    batches = _batches(data, config.micro_batch, device)
    for _ in range(steps):
        for _ in range(config.accumulation_steps):
            observer.mark(Phase.FORWARD)
            with _autocast(config, device):
                output = model(**next(batches), **_loss_options(config))
            loss = output.loss / config.accumulation_steps
            observer.mark(Phase.BACKWARD)
            loss.backward()
        observer.mark(Phase.OPTIMIZER)
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        observer.step_ended()
        del output, loss  # a step is a function in most loops, and what it holds dies with it
    return optimizer


def _optimizer(model: Any, config: TrainConfig) -> torch.optim.Optimizer:
    kind, options = optimizer_class(config.optimizer, model)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = kind(learning, **options)
    return optimizer


def _enable_checkpointing(model: Any, config: TrainConfig) -> None:
    options = checkpointing_options(config)
    if options is not None:
        offload = options.pop("offload", False)
        model.activation_checkpointing_enable(options, offload=offload)
        keep_last_layers(model, config)


def _loss_options(config: TrainConfig) -> dict[str, Any]:
    return {"fused_lm_head": True} if config.loss is Loss.CHUNKED else {}


def _autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    dtype = autocast_dtype(config)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _batches(data: Dataset, size: int, device: torch.device) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        for start in range(0, len(data) - size + 1, size):
            ids = torch.tensor(data[start : start + size]["input_ids"]).to(device)
            yield {"input_ids": ids, "labels": ids}
