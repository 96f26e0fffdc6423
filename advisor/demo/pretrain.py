"""Pretrain the demo model from nothing, on a CPU, within a time budget.

`python -m advisor.demo.pretrain corpus advisor/demo/model --minutes 40 --threads 1`
"""

import json
import platform
import random
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
import typer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from advisor.demo.batches import epochs, packed
from advisor.demo.corpus import read_texts, sha256_of
from advisor.demo.recipe import Recipe, make_optimizer, set_learning_rate
from advisor.demo.tokenizer import VOCABULARY, train_tokenizer

POSITIONS = 1024
REPORTS = 16  # lines of progress in one run


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of the training's curve."""

    step: int
    tokens: int
    minutes: float
    learning_rate: float
    train_loss: float  # nats a token, the mean since the line before
    heldout_loss: float  # nats a token


def main(
    corpus: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    output: Path,
    minutes: float = 40.0,
    threads: int = 1,
) -> None:
    """Train the tokenizer and the model, and save both with their `training.json`."""
    torch.set_num_threads(threads)
    recipe = Recipe()
    set_seed(recipe.seed)
    texts = list(read_texts(corpus / "train.jsonl"))
    tokenizer = train_tokenizer(texts, max_tokens=POSITIONS)
    heldout_texts = list(read_texts(corpus / "heldout.jsonl"))
    heldout = packed(encode(tokenizer, heldout_texts), recipe.sequence_length)
    model = LlamaForCausalLM(model_config(tokenizer))
    curve = train(model, encode(tokenizer, texts), heldout, recipe=recipe, seconds=minutes * 60)
    model.bfloat16()
    save(model, tokenizer, output)
    saved = LlamaForCausalLM.from_pretrained(output, dtype=torch.float32)
    facts = training_facts(corpus, recipe=recipe, curve=curve, threads=threads)
    facts["parameters"] = model.num_parameters()
    facts["saved_heldout_loss"] = mean_loss(saved, heldout, autocast=False)
    (output / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def model_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """A small Llama; each width is a multiple of 64, the block of NF4."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """The token ids of each text, closed by the end-of-text token."""
    end = tokenizer.eos_token_id
    return [[*ids, end] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def train(
    model: LlamaForCausalLM,
    documents: list[list[int]],
    heldout: Tensor,
    *,
    recipe: Recipe,
    seconds: float,
) -> list[Progress]:
    """The curve of a training that takes `seconds`; its last line is the end."""
    optimizer = make_optimizer(model, recipe)
    order = random.Random(recipe.seed)
    batches = epochs(documents, recipe.sequence_length, recipe.micro_batch, order)
    curve: list[Progress] = []
    losses: list[float] = []
    started = time.monotonic()
    for step, batch in enumerate(batches):
        fraction = (time.monotonic() - started) / seconds
        if losses and fraction >= len(curve) / REPORTS:
            curve.append(
                Progress(
                    step=step,
                    tokens=step * batch.numel(),
                    minutes=round((time.monotonic() - started) / 60, 2),
                    learning_rate=optimizer.param_groups[0]["lr"],
                    train_loss=fmean(losses),
                    heldout_loss=mean_loss(model, heldout),
                )
            )
            typer.echo(json.dumps(asdict(curve[-1])))
            losses = []
        if fraction >= 1:
            break
        set_learning_rate(optimizer, recipe, step=step, fraction=fraction)
        losses.append(training_step(model, optimizer, batch, recipe))
    return curve


def training_step(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, batch: Tensor, recipe: Recipe
) -> float:
    """The loss of one step, taken."""
    # bf16 matrix products took 0.35 s a step where fp32 took 0.87 s, on a core with AVX512-BF16.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, blocks: Tensor, *, autocast: bool = True) -> float:
    """Mean nats a token over packed blocks of [blocks, sequence_length]."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        losses = [float(model(input_ids=part, labels=part).loss) for part in blocks.unsqueeze(1)]
    return fmean(losses)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Write the weights, the configuration and the tokenizer."""
    model.generation_config.max_new_tokens = 96
    model.generation_config.repetition_penalty = 1.2
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def training_facts(corpus: Path, *, recipe: Recipe, curve: list[Progress], threads: int) -> dict[str, object]:
    """What `training.json` says of the run; `main` adds what it knows of the saved model."""
    return {
        "schema": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "corpus": {
            name: {"sha256": sha256_of(corpus / name), "bytes": (corpus / name).stat().st_size}
            for name in ("train.jsonl", "heldout.jsonl")
        },
        "recipe": asdict(recipe),
        "threads": threads,
        "end": asdict(curve[-1]),
        "curve": [asdict(line) for line in curve],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
        },
    }


if __name__ == "__main__":
    typer.run(main)
