"""Which shapes share a tape: those for which the step runs the same operations in the same order."""

from dataclasses import dataclass
from typing import Any

from advisor.records import Loss, Method, Precision, TrainConfig

_CHUNK_TOKENS = 4096  # TRL's tile; trl 1.16 `kernels/chunked_logprob.py`, TOKEN_CHUNK_SIZE
# bitsandbytes 0.50 may fuse the 4-bit product up to here; `backends/cuda/ops.py`, _gemm_4bit_custom_max_m
_FUSED_TOKENS = 1536

# Fields of a config that change only how often, or with what numbers, the same operations run.
_NOT_IN_KEY = ("micro_batch", "sequence_length", "allocator")


@dataclass(frozen=True, slots=True)
class Regime:
    """One class of shapes.

    `single`: batch 1, where views replace copies. `chunks`: tiles of the chunked loss. `exact`: the one
    shape that the regime holds, where kernel choice depends on every token; else (0, 0).
    """

    single: bool
    chunks: int = 0
    exact: tuple[int, int] = (0, 0)

    @property
    def tokens(self) -> int:
        """About how many tokens to trace it with."""
        if self.chunks > 0:
            return int((self.chunks - 0.3) * _CHUNK_TOKENS)
        return 3000

    def key(self, config: TrainConfig, family: str) -> dict[str, Any]:
        """What tells this tape from others of the same model."""
        fields = {k: v for k, v in config.to_json().items() if k not in _NOT_IN_KEY}
        fields["accumulation_steps"] = min(config.accumulation_steps, 2)
        if config.method is not Method.LORA:
            fields = {k: v for k, v in fields.items() if not k.startswith(("lora_", "adapter_"))}
        if config.method is not Method.LAST_LAYERS:
            fields.pop("trainable_layers")
        return fields | {
            "family": family,
            "single": self.single,
            "chunks": self.chunks,
            "exact": list(self.exact),
        }


def regime_of(config: TrainConfig) -> Regime:
    """The regime of the config's shape."""
    batch, length = config.micro_batch, config.sequence_length
    quantised = config.precision in (Precision.NF4, Precision.NF4_SINGLE)
    if (quantised and batch * length <= _FUSED_TOKENS) or length < _SHORT:
        return Regime(batch == 1, exact=(batch, length))
    if config.loss is Loss.CHUNKED:
        return Regime(batch == 1, chunks=-(-batch * (length - 1) // _CHUNK_TOKENS))
    return Regime(batch == 1)


_SHORT = 16  # below this a length can't be told from the model's own dimensions


