"""Which shapes share a tape: those for which the step runs the same operations in the same order."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.records import QUANTISED, Checkpointing, LoraVariant, Loss, Method, Precision, TrainConfig
from advisor.tape.record import TILE_TOKENS, TRACED_TILES, loss_tiles
from advisor.tape.target import Target

# bitsandbytes 0.50 may fuse the 4-bit product up to here; `backends/cuda/ops.py`, _gemm_4bit_custom_max_m
_FUSED_TOKENS = 1536
_TRACED_TOKENS = 3000  # more than bitsandbytes may fuse, and else as few as will do
_LEAST_BATCH = 13  # a batch to trace with: a prime that divides no dimension of a model
_SHORT = 20  # below this a length can't be told from the model's own dimensions

# Fields of a config that change only how often, or with what numbers, the same operations run.
_NOT_IN_KEY = (
    "micro_batch",
    "sequence_length",
    "allocator",
    "checkpointed_layers",
    "evaluates",
    "evaluation_batch",
)
_OF_ADAPTERS = (
    "lora_",
    "adapter_",
    "cast_adapter_inputs",
    "fused_adapters",
)  # how fields begin that nothing but adapters read
# Parts that must be traced of layers that are all alike: the first, one before the template, the template, the last.
EDGE_PARTS = 4


@dataclass(frozen=True, slots=True)
class Regime:
    """One class of shapes.

    `single`: batch 1, where views replace copies. `tiles`: of the chunked loss or Liger's; from `TRACED_TILES` on they
    repeat. `liger_tiles`: the most that Liger cuts the model's loss into; 0 where the loss is not Liger's. `window`: of local
    attention, where a sequence reaches it and so needs a mask; else 0. `exact`: the one shape that the regime holds, where kernel choice depends on every token; else (0, 0). `split`: layers with
    and without checkpointing, where only some have it, each at most as many as are traced; else (0, 0).
    """

    single: bool
    tiles: int = 0
    window: int = 0
    exact: tuple[int, int] = (0, 0)
    split: tuple[int, int] = (0, 0)
    liger_tiles: int = 0

    def longest(self, batch: int) -> int:
        """A sequence length, for a batch of that many, from which down to look for one to trace with."""
        if self.tiles and not self.liger_tiles:  # a trace of Liger's loss takes tiles of its own
            return int((self.tiles - 0.3) * TILE_TOKENS) // batch + 1
        return max(_TRACED_TOKENS // batch + 1, self.window * 21 // 20)

    @property
    def tiled(self) -> bool:
        """Whether the tape is to repeat a tile of the loss."""
        return self.tiles == TRACED_TILES and not self.exact[0]

    def key(self, config: TrainConfig, target: Target) -> dict[str, Any]:
        """What tells this tape from others of the same model."""
        fields = {k: v for k, v in config.to_json().items() if k not in _NOT_IN_KEY}
        fields["accumulation_steps"] = min(config.accumulation_steps, 2)
        if config.method is not Method.LORA:
            fields = {k: v for k, v in fields.items() if not k.startswith(_OF_ADAPTERS)}
        if config.method is not Method.LAST_LAYERS:
            fields.pop("trainable_layers")
        if config.precision in QUANTISED:  # their adapters cast nothing under autocast
            fields.pop("cast_adapter_inputs", None)
        if config.lora_variant is LoraVariant.RSLORA:
            fields.pop("lora_variant", None)  # it only scales by another number
        if self.split[0]:
            fields["split"] = list(self.split)
        return fields | {
            # For few tokens bitsandbytes chooses its 4-bit kernel by the very card.
            "family": target.model if self.exact[0] else target.family,
            "single": self.single,
            "tiles": self.tiles,
            "window": self.window,
            "exact": list(self.exact),
        }


def regime_of(config: TrainConfig, facts: Mapping[str, Any] | None = None) -> Regime:
    """The regime of the config's shape; `facts` (the model's config.json) tell of local attention."""
    batch, length = config.micro_batch, config.sequence_length
    single = batch == 1
    chunked, liger = config.loss is Loss.CHUNKED, liger_tiles(config, facts or {})
    tiles = min(loss_tiles(batch, length, liger), TRACED_TILES) if chunked or liger else 0
    window = _window(facts or {})
    window = window if 0 < window <= length else 0
    quantised = config.precision in (Precision.NF4, Precision.NF4_SINGLE)
    fused = quantised and batch * length <= _FUSED_TOKENS
    # Few tiles and a wide window leave no room for a length and a batch that can be told apart.
    split = _split(config, facts or {})
    cramped = chunked and tiles * TILE_TOKENS < window * (1 if single else _LEAST_BATCH) * 21 // 20
    untold = config.loss is Loss.LIGER and not liger
    if fused or cramped or untold or length < _SHORT or _convolves(facts or {}):
        return Regime(single, exact=(batch, length), split=split)
    return Regime(single, tiles, window, split=split, liger_tiles=liger)


def liger_tiles(config: TrainConfig, facts: Mapping[str, Any]) -> int:
    """The most tiles that Liger cuts the model's loss into; 0 where that is not known, or the loss is another."""
    vocab, width = (facts.get(name) for name in ("vocab_size", "hidden_size"))
    if config.loss is not Loss.LIGER or facts.get("model_type") not in liger_model_types():
        return 0
    return -(-vocab // width) if type(vocab) is type(width) is int and vocab > 0 < width else 0


def _convolves(facts: Mapping[str, Any]) -> bool:
    """Whether the model has convolutions over the sequence, whose sizes no factor of batch and length tells."""
    part = _families()["convolved"]["key_part"]
    return any(part in name for name in facts)


def _window(facts: Mapping[str, Any]) -> int:
    return int(facts.get("sliding_window") or 0) if facts.get("use_sliding_window", True) else 0


def _split(config: TrainConfig, facts: Mapping[str, Any]) -> tuple[int, int]:
    """Layers with and without checkpointing, as far as they tell one tape from another."""
    count, layers = config.checkpointed_layers, int(facts.get("num_hidden_layers") or 0)
    if config.checkpointing is Checkpointing.NONE or count is None or count == layers:
        return 0, 0
    if count > layers or not layers_are_alike(facts):
        return count, layers - count
    learning = config.trainable_layers if config.method is Method.LAST_LAYERS else 0
    kept = layers - count
    learning_there = min(learning, kept)
    return min(count, EDGE_PARTS + learning - learning_there), min(kept, EDGE_PARTS + learning_there)


def layers_are_alike(facts: Mapping[str, Any]) -> bool:
    """Whether the model's decoder layers are all of one kind, as far as is known of its architecture."""
    varied = facts.get("use_sliding_window") or len(set(facts.get("layer_types") or ())) > 1
    return not varied and facts.get("model_type") in alike_model_types()


def alike_model_types() -> tuple[str, ...]:
    """Architectures whose decoder layers are all of one kind."""
    return tuple(_families()["alike_layers"]["model_types"])


def liger_model_types() -> tuple[str, ...]:
    """Architectures whose tapes with Liger's kernels have symbols for what Liger reckons itself."""
    return tuple(_families()["liger_symbols"]["model_types"])


@cache
def _families() -> dict[str, Any]:
    return tomllib.loads(files("advisor.tape").joinpath("families.toml").read_text(encoding="utf-8"))
