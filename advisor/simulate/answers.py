"""What the simulated card answers when the step asks for values: stated assumptions, in one place.

Nothing is computed, so a question such as `mask.all()` has no answer of its own. The answers are those of
an ordinary step: every label counts, nothing is NaN, batches have no padding, and LLM.int8 finds the
number of outlier columns that is named here.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

if TYPE_CHECKING:
    from advisor.simulate.recorder import Recorder

# Feature columns in which LLM.int8 meets a value of at least 6.0. Random weights have none on the H200
# (profiles/, int8 rows); trained models of 7B and more have a handful (Dettmers et al. 2022, figure 3).
INT8_OUTLIER_COLUMNS = 0


def answer(card: "Recorder", name: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
    """(True, the value) where the question is one that only data could answer."""
    if name == "aten::_local_scalar_dense":
        return True, _scalar(args[0], card)
    if name == "aten::equal":
        return True, _equal(args[0], args[1], card)
    if name == "aten::nonzero":
        return True, _nonzero(args[0], card)
    if name == "aten::index.Tensor" and _by_mask(args):
        return True, _selected(args[0], args[1], card)
    return False, None


def _scalar(tensor: torch.Tensor, card: "Recorder") -> bool | int | float:
    if tensor.dtype is torch.bool:
        # The one yes-or-no question inside bitsandbytes' kernels is whether there are outliers.
        return INT8_OUTLIER_COLUMNS > 0 if card.in_quantised_kernel else True
    return 0.0 if tensor.is_floating_point() else 1


def _equal(left: torch.Tensor, right: torch.Tensor, card: "Recorder") -> bool:
    """No: Liger asks whether the gradient of its loss is 1, and the trainers scale it. CUDA compares and reduces."""
    with card:
        torch.eq(left, right).all()
    return False


def _by_mask(args: tuple[Any, ...]) -> bool:
    return any(isinstance(i, FakeTensor) and i.dtype is torch.bool for i in args[1] if i is not None)


def _nonzero(mask: torch.Tensor, card: "Recorder") -> torch.Tensor:
    count = INT8_OUTLIER_COLUMNS if mask.dim() == 1 else mask.numel()
    with card:
        return torch.empty((count, mask.dim()), dtype=torch.int64, device=mask.device)


def _selected(source: torch.Tensor, indices: list[Any], card: "Recorder") -> torch.Tensor:
    """All rows: every label counts. CUDA first writes the mask's positions, then gathers."""
    mask = indices[0]
    with card:
        positions = torch.empty((mask.numel(), mask.dim()), dtype=torch.int64, device=mask.device)
        rows = source.new_empty((mask.numel(), *source.shape[mask.dim() :]))
    del positions
    return rows
