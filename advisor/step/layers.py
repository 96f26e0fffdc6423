"""Where a model keeps its decoder layers."""

from torch import nn

from advisor.errors import AdvisorError


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The list of the model's decoder layers.

    Raises: AdvisorError where no module list has the length that the config names.
    """
    config = getattr(model, "config", None)
    count = getattr(getattr(config, "get_text_config", lambda: config)(), "num_hidden_layers", 0)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise AdvisorError(
        "The decoder layers of this model can't be found.",
        why=f"no list of {count} modules in {type(model).__name__}",
        fix="use method full or lora without checkpointing, and report the architecture",
    )
