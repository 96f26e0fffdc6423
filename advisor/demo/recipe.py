"""How the demo model is trained: the numbers, and the optimizer and schedule made from them."""

import math
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the model is trained; written into `training.json`."""

    seed: int = 20261124
    sequence_length: int = 256
    micro_batch: int = 8
    learning_rate: float = 1.5e-3
    final_learning_rate_fraction: float = 0.05
    warmup_steps: int = 150
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_norm: float = 1.0
    autocast: str = "bf16"


def make_optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays the matrices of the layers and nothing else.

    Tokens that the corpus lacks keep their random embeddings, so a fine-tune can still use them.
    """
    layers = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    groups = [
        {"params": layers, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(recipe.beta1, recipe.beta2), fused=True)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, recipe: Recipe, *, step: int, fraction: float
) -> None:
    """Warm up over steps, then fall along a cosine over the time budget."""
    floor = recipe.final_learning_rate_fraction
    cosine = floor + (1 - floor) * (1 + math.cos(math.pi * fraction)) / 2
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * warmup * cosine
