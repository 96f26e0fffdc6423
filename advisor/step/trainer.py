"""From a config to the trainer that runs it: transformers' for the stock loss, TRL's for the chunked one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from advisor.records import Autocast, Loss, TrainConfig
from advisor.step.checkpoint import checkpointing_options, keep_last_layers
from advisor.step.observe import Observer, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a run needs beside the config; none of it changes the memory of a step."""

    output_dir: str
    max_steps: int = 3
    learning_rate: float = 2e-4
    warmup_steps: int = 0
    seed: int = 0
    evaluate_steps: int = 0  # 0: no evaluation on the way
    save_steps: int = 0  # 0: no checkpoints
    logging_steps: int = 0  # 0: no log lines


class _Marks:
    """Tells the observer where a step is; the trainers below inherit it beside their own class."""

    observer: Observer
    before_training: Callable[[Any], None] | None = (
        None  # takes the trainer, when it is ready for its first step
    )

    def _prepare_for_training(self, max_steps: int, loader: Any, resume_from: str | None) -> Any:
        if self.before_training is None:
            return super()._prepare_for_training(max_steps, loader, resume_from)  # type: ignore[misc]
        # Before the optimizer has the checkpoint's states, for what comes before training may leave none.
        prepared = super()._prepare_for_training(max_steps, loader, None)  # type: ignore[misc]
        self.before_training(self)
        self._load_optimizer_and_scheduler(resume_from)  # type: ignore[attr-defined]
        self._load_scaler(resume_from)  # type: ignore[attr-defined]
        return prepared

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        training = model.training
        if training:
            self.observer.mark(Phase.FORWARD)
        elif self.args.use_liger_kernel:  # type: ignore[attr-defined]
            inputs = {**inputs, "skip_logits": True}  # else Liger makes whole logits where it does not train
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        if training:
            self.observer.mark(Phase.BACKWARD)
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self.observer.mark(Phase.OPTIMIZER)  # or the next micro-batch, which marks itself
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        self.observer.mark(Phase.EVALUATE)
        return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.observer.mark(Phase.SAVE)
        super()._save_checkpoint(*args, **kwargs)  # type: ignore[misc]


class _Hooks(TrainerCallback):
    """Tells the observer that the optimizer has stepped; and finishes what the trainer can't be told."""

    def __init__(self, config: TrainConfig, observer: Observer) -> None:
        self.config = config
        self.observer = observer

    def on_train_begin(self, *_: Any, **given: Any) -> None:
        keep_last_layers(given["model"], self.config)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.observer.step_ended()


class MarkedTrainer(_Marks, Trainer):
    """transformers' Trainer, unchanged but for the marks."""


class MarkedSftTrainer(_Marks, SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer, unchanged but for the marks."""


def make_trainer(  # noqa: PLR0913 - the trainer's own needs
    model: nn.Module,
    config: TrainConfig,
    options: RunOptions,
    *,
    train_data: Dataset,
    evaluation_data: Dataset | None,
    tokenizer: PreTrainedTokenizerBase,
    observer: Observer,
    use_cpu: bool,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> Trainer:
    """The trainer whose `train()` is the run.

    `train_data` and `evaluation_data` hold `input_ids` (and `labels` where they differ), already cut
    into sequences of at most `config.sequence_length` tokens, in the order in which they are trained on.
    """
    chunked = config.loss is Loss.CHUNKED
    kind = MarkedSftTrainer if chunked else MarkedTrainer
    arguments = _arguments(config, options, use_cpu=use_cpu, chunked=chunked)
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # noqa: SLF001 - else each batch is spread over every card, which no plan is for
    trainer = kind(
        model=model,
        args=arguments,
        train_dataset=train_data,
        eval_dataset=evaluation_data,
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id),
        callbacks=[_Hooks(config, observer), *callbacks],
    )
    trainer.observer = observer
    trainer.remove_callback(PrinterCallback)  # it writes to stdout, which is for results
    return trainer


def _arguments(
    config: TrainConfig, options: RunOptions, *, use_cpu: bool, chunked: bool
) -> TrainingArguments:
    values = _shape(config) | _schedule(options) | _quiet(options)
    values |= {"use_cpu": use_cpu, "optim": config.optimizer, "use_liger_kernel": config.loss is Loss.LIGER}
    if not chunked:
        return TrainingArguments(**values)
    arguments: TrainingArguments = SFTConfig(
        **values,
        max_length=config.sequence_length,
        packing=False,  # the data comes packed: see `step/data.py`
        dataset_kwargs={"skip_prepare_dataset": True},
        activation_offloading=False,
    )
    return arguments


def _shape(config: TrainConfig) -> dict[str, Any]:
    recomputes = checkpointing_options(config)
    return {
        "per_device_train_batch_size": config.micro_batch,
        "per_device_eval_batch_size": config.evaluated.micro_batch,
        "gradient_accumulation_steps": config.accumulation_steps,
        "gradient_checkpointing": recomputes is not None,
        "gradient_checkpointing_kwargs": recomputes,
        "bf16": config.autocast is Autocast.BF16,
        "fp16": config.autocast is Autocast.FP16,
    }


def _schedule(options: RunOptions) -> dict[str, Any]:
    return {
        "output_dir": options.output_dir,
        "max_steps": options.max_steps,
        "learning_rate": options.learning_rate,
        "warmup_steps": options.warmup_steps,
        "lr_scheduler_type": "cosine",
        "seed": options.seed,
        "save_strategy": "steps" if options.save_steps else "no",
        "save_steps": options.save_steps or 1,
        "save_total_limit": 1,
        "eval_strategy": "steps" if options.evaluate_steps else "no",
        "eval_steps": options.evaluate_steps or 1,
        "prediction_loss_only": True,  # keeping every logit for metrics is what fills cards at evaluation
    }


def _quiet(options: RunOptions) -> dict[str, Any]:
    return {
        "report_to": [],
        "disable_tqdm": True,
        "logging_strategy": "steps" if options.logging_steps else "no",
        "logging_steps": options.logging_steps or 1,
        "logging_nan_inf_filter": False,  # one device sync a step, and a NaN should be seen
        "dataloader_pin_memory": torch.cuda.is_available(),
        "remove_unused_columns": False,
        "train_sampling_strategy": "sequential",  # who made the data has shuffled it
    }
