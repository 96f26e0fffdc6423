"""Everything that can be refused before a weight is loaded: data, device, memory, model, recipe."""

from dataclasses import dataclass

import torch

from advisor.plan.document import PlannedRun
from advisor.train.card import (
    cap_memory,
    card_now,
    choose_device,
    set_allocator,
    unusable_card,
    used_by_others,
)
from advisor.train.data import RunData, arrange, read_texts
from advisor.train.guard import check_driver, check_plan
from advisor.train.liger import with_kernels_that_run
from advisor.train.model import Resolved, resolve_model
from advisor.train.recipe import Recipe, choose_recipe, rounding_note
from advisor.train.request import RunRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All that a run needs."""

    planned: PlannedRun
    request: RunRequest
    device: torch.device
    model: Resolved
    data: RunData
    recipe: Recipe
    shared: bool  # others use the card, too
    notes: tuple[str, ...]  # those that begin with WARNING are to be shown loudly


def prepare(planned: PlannedRun, request: RunRequest) -> Ready:
    """The run, ready to begin; the cheap checks come first.

    Raises: AdvisorError where the data, the machine or the model is not what the plan needs.
    """
    texts = read_texts(request)
    allocator_note = set_allocator(planned.config)
    shared = used_by_others()
    device = choose_device()
    notes = _guarded(planned, request, device, shared=shared)
    planned, loss_note = with_kernels_that_run(planned, on_card=device.type == "cuda")
    model = resolve_model(planned, request.model)
    vocab = int(planned.model.config["vocab_size"])
    data = arrange(texts, model.tokenizer, planned.config, request, vocab=vocab)
    recipe = choose_recipe(planned, request, data.steps)
    further = (allocator_note, loss_note, rounding_note(planned), f"learning rate {recipe.reason.text}")
    return Ready(
        planned=planned,
        request=request,
        device=device,
        model=model,
        data=data,
        recipe=recipe,
        shared=shared,
        notes=(*notes, *model.notes, *data.notes, *(note for note in further if note)),
    )


def _guarded(
    planned: PlannedRun, request: RunRequest, device: torch.device, *, shared: bool
) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if request.guard:
        check_driver(unusable_card())
        notes = check_plan(planned, card_now(device, shared=shared), cap_bytes=request.cap_bytes)
    if request.cap_bytes is None:
        return notes
    if device.type != "cuda":
        return (*notes, "no card, so the cap on its memory has no effect")
    cap_memory(request.cap_bytes, device)
    return notes
