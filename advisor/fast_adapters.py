"""What an adapter's step can be rid of without changing what is learned; plans and sweeps are rid of it."""

from dataclasses import replace

from advisor.records import QUANTISED, Autocast, LoraVariant, Method, Precision, TrainConfig


def may_leave_inputs(config: TrainConfig) -> bool:
    """Whether adapters may read what their layer reads: autocast casts back what PEFT would cast (decision 26).

    Adapters of quantised layers cast nothing under autocast, so there is nothing to leave out.
    """
    adapts = config.method is Method.LORA and config.precision not in QUANTISED
    return adapts and config.autocast is not Autocast.NONE


def may_fuse_adapters(config: TrainConfig) -> bool:
    """Whether an adapter's products may be added into its layer's own result (decision 28).

    DoRA divides by norms in between, dropout masks what the adapter reads, and 8-bit layers keep their own state.
    """
    plain = config.method is Method.LORA and config.lora_variant is not LoraVariant.DORA
    return plain and not config.lora_dropout and config.precision is not Precision.INT8


def with_fast_adapters(config: TrainConfig) -> TrainConfig:
    """With adapters that cast nothing and are fused, where they may."""
    return replace(
        config,
        cast_adapter_inputs=not may_leave_inputs(config),
        fused_adapters=may_fuse_adapters(config),
    )
