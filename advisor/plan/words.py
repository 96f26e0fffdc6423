"""A config in a few words."""

from advisor.records import Checkpointing, TrainConfig


def shape_words(config: TrainConfig) -> str:
    """Micro-batch and length, and what recomputes."""
    none = config.checkpointing is Checkpointing.NONE
    return (
        f"{config.micro_batch} x {config.sequence_length:,}{' plain' if none else f', {config.recomputed}'}"
    )
