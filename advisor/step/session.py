"""The whole step, put together: load, adapt, train. Everything that trains here goes through `build`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Trainer, TrainerCallback
from transformers.integrations.liger import apply_liger_kernel

from advisor.records import Loop, Loss, TrainConfig
from advisor.step.adapt import adapt, cast_adapters, check_trainable
from advisor.step.bare import run_bare_loop
from advisor.step.liger import check_has_kernels, check_loss
from advisor.step.load import load_model
from advisor.step.observe import Observer, Phase
from advisor.step.optimizers import forget_earlier_weights
from advisor.step.trainer import RunOptions, make_trainer
from advisor.step.weights import WeightSource


@dataclass(slots=True)
class Session:
    """A model on a device, and how to train it."""

    config: TrainConfig
    options: RunOptions
    model: Any  # PreTrainedModel or PeftModel
    data: Dataset
    device: torch.device
    observer: Observer
    trainer: Trainer | None  # None: the bare loop
    optimizer: torch.optim.Optimizer | None = None  # once trained

    def train(self, resume_from: str | None = None) -> None:
        """Run the step `options.max_steps` times."""
        if self.trainer is not None:
            self.trainer.train(resume_from_checkpoint=resume_from)
            self.optimizer = getattr(self.trainer.optimizer, "optimizer", self.trainer.optimizer)
            return
        self.optimizer = run_bare_loop(
            self.model,
            self.config,
            self.data,
            steps=self.options.max_steps,
            device=self.device,
            observer=self.observer,
        )

    def evaluate(self) -> float | None:
        """Mean loss over the evaluation data's micro-batches; None where there are none."""
        if self.trainer is None or self.trainer.eval_dataset is None:
            return None
        return float(self.trainer.evaluate()["eval_loss"])

    def save(self, folder: Path, *, base_name: str) -> None:
        """Write the adapter, or the model where its own weights were trained, as safetensors.

        An adapter remembers its base by `base_name`.
        """
        self.observer.mark(Phase.SAVE)
        if isinstance(self.model, PeftModel):
            for lora in self.model.peft_config.values():
                lora.base_model_name_or_path = base_name
            # Without this PEFT asks the hub whether the vocabulary has grown.
            embeds = not set(EMBEDDING_LAYER_NAMES).isdisjoint(self.config.lora_targets)
            self.model.save_pretrained(str(folder), save_embedding_layers=embeds)
            return
        self.model.config.use_cache = True  # training had switched it off; whoever writes text wants it
        try:
            self.model.save_pretrained(str(folder))
        finally:
            self.model.config.use_cache = False  # the training may go on


def build(  # noqa: PLR0913 - each is one ingredient of a run
    source: WeightSource,
    config: TrainConfig,
    options: RunOptions,
    *,
    train_data: Dataset,
    evaluation_data: Dataset | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: torch.device,
    observer: Observer,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> Session:
    """A session ready to train.

    Raises: AdvisorError where the model can't be loaded or the method can't train it.
    """
    check_trainable(config)
    check_loss(config.loss, device)
    forget_earlier_weights()
    observer.mark(Phase.LOAD)
    model: Any = load_model(source, config, device, observer)
    check_has_kernels(model, config.loss)
    observer.mark(Phase.PREPARE)
    model = adapt(model, config)
    trainer = None
    if config.loop is Loop.TRAINER:
        trainer = make_trainer(
            model,
            config,
            options,
            train_data=train_data,
            evaluation_data=evaluation_data,
            tokenizer=tokenizer or blank_tokenizer(),
            observer=observer,
            use_cpu=device.type != "cuda",
            callbacks=callbacks,
        )
        cast_adapters(model, config)
    elif config.loss is Loss.CHUNKED:
        _use_chunked_loss(model)
    elif config.loss is Loss.LIGER:
        apply_liger_kernel(model, None)
    return Session(config, options, model, train_data, device, observer, trainer)


def blank_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer for runs on random ids: the trainers want one, and read only its pad token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    unknown, end = "<unk>", "<eos>"
    words = Tokenizer(WordLevel({unknown: 0, end: 1}, unk_token=unknown))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=end, pad_token=end)


def _use_chunked_loss(model: Any) -> None:
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model.get_base_model() if hasattr(model, "get_base_model") else model)
