"""Saving on the simulated card: the libraries gather what they save as on a real one, and no file is written."""

from typing import Any
from unittest import mock

import huggingface_hub.serialization._torch
import peft.peft_model
import peft.utils.other
import torch
import transformers.modeling_utils
import transformers.pytorch_utils

from advisor.simulate.recorder import Recorder

_ASKING = (transformers.pytorch_utils, peft.utils.other, huggingface_hub.serialization._torch)
_WRITING = (transformers.modeling_utils, peft.peft_model)


def saving_patches(card: Recorder) -> list[Any]:
    """What makes the libraries save FakeTensors as they save tensors of a card."""

    def write(*_: Any, **__: Any) -> None:
        """`safetensors.torch.save_file` copies each tensor to the host: the card gives it nothing."""
        card.ledger.leave()  # what was made for it dies next, all at once

    patch = mock.patch.object
    return [
        # Weights are tied where their storage is one; the address of a storage without contents is always 0.
        *(patch(module, "storage_ptr", _storage) for module in _ASKING),
        *(patch(module, "safe_save_file", write) for module in _WRITING),
    ]


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
