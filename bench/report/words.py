"""What a config is called in tables and figures."""

from dataclasses import fields, replace
from typing import Any

from advisor.profiles.record import Measurement
from advisor.records import Method, TrainConfig
from advisor.units import gib

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
DOT = "\N{MIDDLE DOT}"

_PLAIN = TrainConfig()
# Said apart.
_SAID_APART = {"method", "precision", "micro_batch", "sequence_length", "checkpointing", "loss"}
_PHRASES = {
    "loss": "{} loss",
    "accumulation_steps": "accumulation {}",
    "optimizer": "{}",
    "autocast": "autocast {}",
    "loop": "{} loop",
    "allocator": "{} segments",
    "lora_rank": "rank {}",
    "lora_targets": "adapters on {}",
    "lora_dropout": "dropout {}",
    "adapter_dtype": "{} adapters",
    "attention": "{} attention",
    "trainable_layers": "{} layers",
    "checkpointed_layers": "first {} layers checkpointed",
    "lora_variant": "{}",
}
_METHODS = {Method.LORA: "LoRA", Method.FULL: "full", Method.LAST_LAYERS: "last layers"}


def method_words(method: Method) -> str:
    """The method as a reader knows it."""
    return _METHODS[method]


def trained(config: TrainConfig) -> str:
    """What learns, and how the base is stored: `LoRA, nf4`."""
    return f"{method_words(config.method)}, {config.precision.value}"


def batch(config: TrainConfig) -> str:
    """Sequences in one forward pass by tokens in one sequence."""
    return f"{config.micro_batch} {TIMES} {config.sequence_length}"


def tokens(config: TrainConfig) -> int:
    """Tokens in one forward pass, which is what memory grows with."""
    return config.micro_batch * config.sequence_length


def otherwise(config: TrainConfig) -> tuple[str, ...]:
    """The loss, and in what the config is not the usual one apart from what tables have columns for."""
    unusual = (
        _phrase(f.name, getattr(config, f.name))
        for f in fields(TrainConfig)
        if f.name not in _SAID_APART and getattr(config, f.name) != getattr(_PLAIN, f.name)
    )
    return (_phrase("loss", config.loss.value), *unusual)


def _phrase(name: str, value: Any) -> str:
    if name == "kbit_prepare":
        return "k-bit preparation"
    if name == "cast_adapter_inputs":
        return "adapters' inputs not cast"
    if name == "fused_adapters":
        return "adapters fused"
    shown = ", ".join(value) if isinstance(value, tuple) else str(value)
    return _PHRASES.get(name, name.replace("_", " ") + " {}").format(shown)


def checkpointing_words(config: TrainConfig) -> str:
    """The kind of checkpointing as part of a sentence."""
    kind = config.checkpointing.value
    return "no checkpointing" if kind == "none" else f"{kind} checkpointing"


def way(config: TrainConfig) -> TrainConfig:
    """The config without its batch: rows of one way differ in the batch alone."""
    return replace(config, micro_batch=1, sequence_length=1)


def short_way(config: TrainConfig) -> str:
    """The way in as few words as a drawing has room for."""
    kind = config.checkpointing.value
    return ", ".join((trained(config), "no checkpointing" if kind == "none" else kind, *otherwise(config)))


def way_words(config: TrainConfig) -> str:
    """The way in a few words."""
    return ", ".join((trained(config), checkpointing_words(config), *otherwise(config)))


def described(row: Measurement) -> str:
    """One row in a sentence, for those who point at it."""
    parts = [row.model, way_words(row.config), f"{batch(row.config)} tokens"]
    if row.cap_bytes is not None:
        parts.append(f"cap {gib(row.cap_bytes)}")
    if row.peak_reserved_bytes is not None:
        parts.append(f"{gib(row.peak_reserved_bytes)} reserved")
    if row.tokens_per_second is not None:
        parts.append(f"{speed(row.tokens_per_second)} tokens/s")
    return f" {DOT} ".join(parts)


def speed(tokens_per_second: float) -> str:
    """Tokens a second, with as many digits as a measurement is worth."""
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 100 else f"{tokens_per_second:.1f}"


def percent(share: float) -> str:
    """A signed error, with a real minus sign; nothing is a plain zero."""
    shown = f"{share:+.2%}"
    return "0.00%" if shown in {"+0.00%", "-0.00%"} else shown.replace("-", MINUS)
