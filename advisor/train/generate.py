"""A line of text by the model, with its adapter and without: what the training changed, to be read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from advisor.records import TrainConfig
from advisor.step.load import load_model
from advisor.step.observe import Unobserved
from advisor.step.weights import Checkpoint

_TEMPERATURE, _TOP_P = 0.7, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """What a prompt becomes, before the training and after it."""

    prompt: str
    before: str | None  # None: the weights themselves were trained, so there is no before
    after: str


def load_adapted(base: str, adapter: Path, config: TrainConfig, device: torch.device) -> PeftModel:
    """The base with a saved adapter on it, as `advisor run` left it, ready to write.

    The base is loaded by the step's own loader, so quantised as in training, and with the switch that
    keeps bitsandbytes from repacking its weights in an eval pass (see `step/load.py`).
    """
    model = load_model(Checkpoint(base), config, device, Unobserved())
    adapted: PeftModel = PeftModel.from_pretrained(model, str(adapter))
    return adapted.eval()


def compare_text(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, *, seed: int | None = 0, new_tokens: int = 48
) -> Continuation:
    """The prompt's continuation without the adapter and with it; `seed` None is greedy.

    Both draw from the same seed, so what differs is the adapter.
    """
    after = write_text(model, tokenizer, prompt, seed=seed, new_tokens=new_tokens)
    if not isinstance(model, PeftModel):
        return Continuation(prompt=prompt, before=None, after=after)
    with model.disable_adapter():
        before = write_text(model, tokenizer, prompt, seed=seed, new_tokens=new_tokens)
    return Continuation(prompt=prompt, before=before, after=after)


@torch.no_grad()
def write_text(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, *, seed: int | None = 0, new_tokens: int = 48
) -> str:
    """The continuation of the prompt, without the prompt; the model's mode is left as it was."""
    training = model.training
    model.eval()
    if seed is not None:
        torch.manual_seed(seed)
    given = tokenizer(prompt, return_tensors="pt").to(model.device)
    try:
        made = model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            max_new_tokens=new_tokens,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            **_sampling(seed),
        )
    finally:
        model.train(training)
    new = made[0, given["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


def _sampling(seed: int | None) -> dict[str, Any]:
    if seed is None:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": _TEMPERATURE, "top_p": _TOP_P}
