"""What merging an adapter into its base takes of the host's main memory: it runs there, and the card gives nothing."""

from typing import Any

from advisor.records import Method, ModelSpec, Precision, TrainConfig

_SHARD_BYTES = 2 << 30  # of a saved file, which saving holds a second time
_FP32_BYTES, _HALF_BYTES = 4, 2


def merge_bytes(*, weights_bytes: int, adapter_bytes: int, largest_matrix: int, item_bytes: int) -> int:
    """The peak, for a base of so many bytes and adapters for it; merging and saving come one after the other.

    `largest_matrix`: numbers in the largest one, of which the product of two adapters is made in fp32, and a copy in
    the base's dtype of `item_bytes` that is looked through for NaN.
    """
    delta_bytes = largest_matrix * (_FP32_BYTES + item_bytes)
    return weights_bytes + adapter_bytes + max(delta_bytes, shard_bytes(weights_bytes))


def shard_bytes(weights_bytes: int) -> int:
    """Of the largest file that saving writes."""
    return min(weights_bytes, _SHARD_BYTES)


def planned_merge_bytes(
    model: ModelSpec, config: TrainConfig, *, parameters: int, trainable: int
) -> int | None:
    """The same before there are files, from the model's facts; None where there is no adapter.

    A quantised base is merged unquantised, in the dtype that it computes in.
    """
    if config.method is not Method.LORA:
        return None
    item_bytes = _FP32_BYTES if config.precision is Precision.FP32 else _HALF_BYTES
    return merge_bytes(
        weights_bytes=parameters * item_bytes,
        adapter_bytes=trainable * (_FP32_BYTES if config.adapter_dtype == "fp32" else _HALF_BYTES),
        largest_matrix=_largest_matrix(model.config),
        item_bytes=item_bytes,
    )


def _largest_matrix(facts: dict[str, Any]) -> int:
    """Of the embedding and the MLP, whichever is larger."""
    known = facts if facts.get("vocab_size") else facts["text_config"]
    widths = (known["vocab_size"], known.get("intermediate_size") or 0)
    return int(known["hidden_size"]) * max(map(int, widths))
