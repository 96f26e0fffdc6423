"""Which decoder layers recompute their activations, and where what they keep for it waits."""

from typing import Any

from torch import nn

from advisor.errors import AdvisorError
from advisor.records import Checkpointing, TrainConfig
from advisor.step.layers import decoder_layers


def checkpointing_options(config: TrainConfig) -> dict[str, Any] | None:
    """What transformers takes as `gradient_checkpointing_kwargs`; None where nothing is recomputed.

    Offloading is transformers' own (`save_on_cpu` around each layer). TRL's runs on a second stream, whose
    buffers die when the card gets to it, so that two runs of a step differ in their peaks.
    """
    if config.checkpointing is Checkpointing.NONE:
        return None
    options = {"use_reentrant": config.checkpointing is Checkpointing.REENTRANT}
    return options | ({"offload": True} if config.checkpointing is Checkpointing.OFFLOADED else {})


def keep_last_layers(model: nn.Module, config: TrainConfig) -> None:
    """Have the layers beyond `checkpointed_layers` keep their activations; call it once checkpointing is on.

    They are the last ones, for the backward pass drops theirs before the first recompute: the same count
    elsewhere needs up to a layer's activations more.
    Raises: AdvisorError where the model has fewer layers, or its layers can't be told apart.
    """
    count = config.checkpointed_layers
    if config.checkpointing is Checkpointing.NONE or count is None:
        return
    layers = decoder_layers(model)
    check_count(count, len(layers))
    layer: Any
    for layer in layers[count:]:
        if not hasattr(layer, "gradient_checkpointing"):
            raise AdvisorError(
                f"Only some layers of a {type(model).__name__} can't be checkpointed.",
                why=f"{type(layer).__name__} has no switch of its own for it",
                fix="leave out checkpointed_layers",
            )
        layer.gradient_checkpointing = False


def check_count(count: int, layers: int) -> None:
    """Refuse more checkpointed layers than there are.

    Raises: AdvisorError with both numbers.
    """
    if count > layers:
        raise AdvisorError(
            f"checkpointed_layers = {count}, but the model has {layers} layers.",
            fix=f"use 1 to {layers}, or leave it out to checkpoint all of them",
        )
