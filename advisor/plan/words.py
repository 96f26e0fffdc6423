"""A config in a few words."""

from advisor.records import Checkpointing, TrainConfig


def checkpointing_words(config: TrainConfig) -> str:
    """Which kind, and of how many layers where not all are recomputed."""
    if config.checkpointing is Checkpointing.NONE or config.checkpointed_layers is None:
        return config.checkpointing.value
    return f"{config.checkpointing.value}, {config.checkpointed_layers} layers"


def shape_words(config: TrainConfig) -> str:
    """Micro-batch and length, and what recomputes."""
    kind = f", {checkpointing_words(config)}"
    none = config.checkpointing is Checkpointing.NONE
    return f"{config.micro_batch} x {config.sequence_length:,}{' plain' if none else kind}"
