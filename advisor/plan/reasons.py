"""Why a plan is as it is, dimension by dimension, and what it assumes."""

from collections.abc import Iterator, Sequence

from advisor.plan.document import Alternative, Choice
from advisor.plan.lanes import PlanOptions
from advisor.records import (
    Attention,
    Autocast,
    Checkpointing,
    GpuSpec,
    Loss,
    Method,
    ModelSpec,
    Precision,
    Reason,
    TrainConfig,
)
from advisor.tape.target import target_of
from advisor.tape.versions import installed_versions
from advisor.units import gib

_LOGITS_BYTES = 10  # a token and vocabulary entry: bf16 logits, their fp32 copy, log-softmax; transformers 5
_FLASH_FROM = (8, 0)


def choices(  # noqa: PLR0913 - what a choice may rest on
    model: ModelSpec,
    gpu: GpuSpec,
    options: PlanOptions,
    config: TrainConfig,
    on_the_way: Sequence[Alternative],
    lost: Sequence[Alternative],
) -> Iterator[Choice]:
    """One choice a dimension, in the order that a reader asks for them.

    `on_the_way` is what had to fail before the config was chosen, `lost` all that was not chosen.
    """
    yield _choice("method", _method(config), *_why_method(options))
    yield _choice("precision", config.precision.value, *_why_precision(options, config, on_the_way))
    yield _choice("compute dtype", config.autocast.value, *_why_compute(gpu, config))
    yield _choice("micro-batch", str(config.micro_batch), *_why_micro_batch(options, config, lost))
    yield _choice(
        "accumulation",
        str(config.accumulation_steps),
        "effective-batch",
        f"{config.micro_batch} x {config.accumulation_steps} = {config.effective_batch} sequences a step",
    )
    yield _choice("sequence length", f"{config.sequence_length:,}", *_why_length(config))
    yield _choice("checkpointing", config.recomputed, *_why_checkpointing(options, config, on_the_way))
    yield _choice("optimizer", config.optimizer, *_why_optimizer(config))
    if config.method is Method.LORA:
        yield _choice("LoRA", f"rank {config.lora_rank}, {_targets(config)}", *_why_lora())
    yield _choice("attention", config.attention.value, *_why_attention(model, gpu, config))
    yield _choice("loss", config.loss.value, *_why_loss(model, config))


def _choice(name: str, value: str, code: str, text: str) -> Choice:
    return Choice(name=name, value=value, reason=Reason(code=code, text=text))


def _method(config: TrainConfig) -> str:
    if config.method is not Method.LORA:
        return config.method.value
    return "QLoRA" if config.precision in (Precision.NF4, Precision.NF4_SINGLE) else "LoRA"


def _targets(config: TrainConfig) -> str:
    targets = config.lora_targets
    return targets if isinstance(targets, str) else ", ".join(targets)


def _why_method(options: PlanOptions) -> tuple[str, str]:
    if options.method is not None:
        return "asked", "asked for"
    return "frozen-base", "the base stays frozen: gradients and optimizer states only for the adapters"


def _why_precision(options: PlanOptions, config: TrainConfig, lost: Sequence[Alternative]) -> tuple[str, str]:
    if options.precision is not None:
        return "asked", "asked for"
    too_large = ("does-not-fit", "too-many-weights")
    failed = [a for a in lost if a.reason.code in too_large and a.config.precision != config.precision]
    if failed:
        first = failed[0]
        atleast = "at least " if first.lower_bound else ""
        return "first-that-fits", f"{first.label} needs {atleast}{gib(first.needed_bytes)}"
    return "least-quantised", "the least quantised base that fits"


def _why_compute(gpu: GpuSpec, config: TrainConfig) -> tuple[str, str]:
    if config.autocast is Autocast.BF16:
        return "bf16", "the card computes bf16: fp32's range, no loss scaling"
    if not gpu.bf16:
        return "no-bf16", f"{gpu.name} has no bf16; fp16 with scaled gradients and fp32 adapters"
    return "fp16", "fp16 weights compute in fp16"


def _why_micro_batch(
    options: PlanOptions, config: TrainConfig, lost: Sequence[Alternative]
) -> tuple[str, str]:
    if options.micro_batch is not None:
        return "asked", "asked for"
    larger = [a for a in lost if _is_larger(a.config, config)]
    if larger and larger[-1].reason.code == "does-not-fit":
        return "largest-that-fits", f"{larger[-1].config.micro_batch} needs {gib(larger[-1].needed_bytes)}"
    tokens = config.micro_batch * config.sequence_length
    return "largest-useful", f"the largest that is useful: {tokens:,} tokens at a time"


def _is_larger(other: TrainConfig, config: TrainConfig) -> bool:
    same_lane = (other.method, other.precision) == (config.method, config.precision)
    return same_lane and other.micro_batch > config.micro_batch


def _why_length(config: TrainConfig) -> tuple[str, str]:
    return "planned", f"{config.tokens_per_step:,} tokens a step"


def _why_checkpointing(
    options: PlanOptions, config: TrainConfig, lost: Sequence[Alternative]
) -> tuple[str, str]:
    if options.checkpointing is not None:
        return "asked", "asked for"
    if config.checkpointing is Checkpointing.NONE:
        return "not-needed", "all activations fit, so no layer is computed twice"
    without = [a for a in lost if a.reason.code == "needs-checkpointing"]
    needs = f"without it {gib(without[-1].needed_bytes)}" if without else "keeps one layer's activations"
    if config.checkpointing is Checkpointing.REENTRANT:
        return "int8-reentrant", f"{needs}; non-reentrant would keep every 8-bit layer's input"
    return "needed", needs


def _why_optimizer(config: TrainConfig) -> tuple[str, str]:
    if config.optimizer == "adamw_torch_fused":
        return "fused", "one kernel, no workspace; two states for each weight that learns"
    return "asked", "asked for"


def _why_lora() -> tuple[str, str]:
    return "all-linear", "adapters on every linear layer match full fine-tuning (QLoRA, 2023, figure 2)"


def _why_attention(model: ModelSpec, gpu: GpuSpec, config: TrainConfig) -> tuple[str, str]:
    if config.attention is not Attention.AUTO:
        return "asked", "asked for"
    heads, groups = (model.config.get(k) for k in ("num_attention_heads", "num_key_value_heads"))
    if target_of(gpu).cudnn_head_size:
        return "cudnn", "transformers' default; torch asks cuDNN first here, then its flash kernel"
    if gpu.compute_capability >= _FLASH_FROM:
        return "flash", "transformers' default; torch takes its flash kernel here"
    if groups not in (None, heads):
        return "repeated", "key heads are repeated, else torch falls to its math kernel before sm80"
    return "efficient", "transformers' default; torch takes its memory-efficient kernel here"


def _why_loss(model: ModelSpec, config: TrainConfig) -> tuple[str, str]:
    tokens = config.micro_batch * config.sequence_length
    whole = _LOGITS_BYTES * tokens * int(model.config["vocab_size"])
    if config.loss is Loss.CHUNKED:
        return "chunked", f"TRL's tiles; whole logits would take {gib(whole)}"
    if config.loss is Loss.LIGER:
        return "asked", f"Liger's tiles and kernels; whole logits would take {gib(whole)}"
    return "asked", f"whole logits, about {gib(whole)}"


def assumptions(model: ModelSpec, gpu: GpuSpec, options: PlanOptions, config: TrainConfig) -> Iterator[str]:
    """What the figures take for granted."""
    positions = model.config.get("max_position_embeddings")
    if isinstance(positions, int) and positions < config.sequence_length:
        yield f"the model knows {positions:,} positions; beyond them it is not known to work, only to fit"
    yield f"every sequence has exactly {config.sequence_length:,} tokens, packed, none padded"
    doubt = f"{gib(gpu.context_bytes)} ± {gib(gpu.context_uncertainty_bytes)}"
    yield f"no other process uses the card; driver and CUDA context take {doubt}"
    if options.reserve_bytes:
        yield f"{gib(options.reserve_bytes)} are left to others, as asked"
    if config.precision is Precision.INT8:
        yield "LLM.int8 meets no outlier columns; trained models have some, which adds a little"
    versions = installed_versions()
    names = ", ".join(f"{n} {versions[n]}" for n in ("torch", "transformers", "peft", "bitsandbytes", "trl"))
    yield f"simulated, not measured, with {names}"
