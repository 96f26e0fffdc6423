"""Why a plan is as it is, dimension by dimension, and what it assumes."""

from collections.abc import Iterator, Sequence

from advisor.catalog.assumed import assumed_for
from advisor.catalog.liger import liger_measured
from advisor.evidence import Basis
from advisor.plan.document import Alternative, Choice
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.plan.search import Examined, Question
from advisor.plan.worth import worth
from advisor.records import (
    Allocator,
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
from advisor.tape.versions import LIGER, installed_version
from advisor.units import gib

_LOGITS_BYTES = 10  # a token and vocabulary entry: bf16 logits, their fp32 copy, log-softmax; transformers 5
_FLASH_FROM = (8, 0)
_UNCAST = "PEFT would make them fp32 and autocast 16 bits again: the same numbers, and two copies"
_FUSED = "what they add is added where it is computed: fewer copies, less rounding than PEFT's own way"
_LIGER_NEEDS = (
    "Liger's kernels need the package liger-kernel and, for Triton, a C compiler; without them "
    "`advisor run` takes the chunked loss and says so"
)


def choices(ask: Question, found: Examined, lost: Sequence[Alternative]) -> Iterator[Choice]:
    """One choice a dimension, in the order that a reader asks for them; `lost` is all that was not chosen."""
    model, gpu, options, config = ask.model, ask.gpu, ask.options, found.config
    yield _choice("method", _method(config), *_why_method(options))
    yield _choice("precision", config.precision.value, *_why_precision(options, config, lost))
    yield _choice("compute dtype", config.autocast.value, *_why_compute(gpu, config))
    yield _choice("micro-batch", str(config.micro_batch), *_why_micro_batch(options, found, lost))
    yield _choice(
        "accumulation",
        str(config.accumulation_steps),
        "effective-batch",
        f"{config.micro_batch} x {config.accumulation_steps} = {config.effective_batch} sequences a step",
    )
    yield _choice("sequence length", f"{config.sequence_length:,}", *_why_length(model, options, config))
    yield _choice("checkpointing", config.recomputed, *_why_checkpointing(options, config, lost))
    yield _choice("optimizer", config.optimizer, *_why_optimizer(options, config))
    if config.method is Method.LORA:
        yield _choice("LoRA", f"rank {config.lora_rank}, {_targets(config)}", *_why_lora(options, config))
        if not config.cast_adapter_inputs:
            yield _choice("adapter inputs", "as they are", "uncast", _UNCAST)
        if config.fused_adapters:
            yield _choice("adapters", "fused", "fused-adapters", _FUSED)
    yield _choice("attention", config.attention.value, *_why_attention(model, gpu, config))
    yield _choice("loss", config.loss.value, *_why_loss(model, options, config))
    if config.allocator is not Allocator.DEFAULT:
        yield _choice("allocator", config.allocator.value, *_why_allocator(options))


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
    if options.goal not in (Goal.QUALITY, Goal.FASTEST, Goal.CHEAPEST):
        return "goal", f"best for {options.goal.value}"
    better = [a for a in lost if a.config.method is config.method and worth(a.config) > worth(config)]
    failed = [a for a in better if a.reason.code in ("does-not-fit", "too-many-weights")]
    if failed:
        first = failed[0]
        atleast = "at least " if first.lower_bound else ""
        return "first-that-fits", f"{first.label} needs {atleast}{gib(first.needed_bytes)}"
    slower = [a for a in better if a.tokens_per_second and a.config.precision is not config.precision]
    if slower:
        return "outweighs", f"{slower[0].label}: {slower[0].reason.text}"
    return "least-quantised", "the least quantised base that fits, and fast enough"


def _why_compute(gpu: GpuSpec, config: TrainConfig) -> tuple[str, str]:
    if config.autocast is Autocast.BF16:
        return "bf16", "the card computes bf16: fp32's range, no loss scaling"
    if not gpu.bf16:
        return "no-bf16", f"{gpu.name} has no bf16; fp16 with scaled gradients and fp32 adapters"
    return "fp16", "fp16 weights compute in fp16"


def _why_micro_batch(options: PlanOptions, found: Examined, lost: Sequence[Alternative]) -> tuple[str, str]:
    config = found.config
    if options.micro_batch is not None:
        return "asked", "asked for"
    if options.goal is Goal.LARGEST_BATCH:
        return "largest-that-fits", "the next larger one does not fit"
    if options.goal is not Goal.LONGEST_CONTEXT and options.goal is not Goal.LEAST_MEMORY:
        speed = f"{found.tokens_per_second:,.0f} tokens/s"
        larger = [a for a in lost if _is_larger(a.config, config)]
        if not larger:
            whole = config.accumulation_steps == 1
            return ("whole-batch", f"{speed}; the whole batch") if whole else ("fastest", speed)
        if larger[-1].reason.code == "does-not-fit":
            need = gib(larger[-1].needed_bytes)
            return "largest-that-fits", f"{speed}; {larger[-1].config.micro_batch} needs {need}"
        theirs = larger[-1].tokens_per_second or 0.0
        more = f"{larger[-1].config.micro_batch} gives {theirs:,.0f} for {gib(larger[-1].needed_bytes)}"
        return "fast-enough", f"{speed}; {more}"
    return "goal", f"leaves most room for {options.goal.value}"


def _is_larger(other: TrainConfig, config: TrainConfig) -> bool:
    same_lane = (other.method, other.precision) == (config.method, config.precision)
    return same_lane and other.micro_batch > config.micro_batch


def _why_length(model: ModelSpec, options: PlanOptions, config: TrainConfig) -> tuple[str, str]:
    tokens = f"{config.tokens_per_step:,} tokens a step"
    if options.goal is not Goal.LONGEST_CONTEXT:
        return "planned", tokens
    if config.sequence_length == model.config.get("max_position_embeddings"):
        return "all-positions", f"as many as the model knows; {tokens}"
    return "longest-that-fits", f"the longest that fits; {tokens}"


def _why_checkpointing(
    options: PlanOptions, config: TrainConfig, lost: Sequence[Alternative]
) -> tuple[str, str]:
    if options.checkpointing is not None:
        return "asked", "asked for"
    if config.checkpointing is Checkpointing.NONE:
        return "not-needed", "all activations fit, so no layer is computed twice"
    if config.checkpointed_layers is not None:
        whole = [a for a in lost if a.label.endswith("with all layers checkpointed")]
        slower = f"with all: {whole[0].reason.text}" if whole else "fewer do not fit"
        return "some-layers", f"the other layers' activations fit beside; {slower}"
    without = [a for a in lost if a.label.endswith("without checkpointing")]
    code, needs = "needed", "keeps one layer's activations"
    if without and without[0].reason.code == "needs-checkpointing":
        needs = f"without it {gib(without[0].needed_bytes)}"
    elif without:
        code, needs = (
            "faster",
            f"without it only micro-batch {without[0].config.micro_batch} fits: {without[0].reason.text}",
        )
    if config.precision is Precision.INT8 and config.checkpointing is Checkpointing.REENTRANT:
        return "int8-reentrant", f"{needs}; non-reentrant would keep every 8-bit layer's input"
    return code, needs


def _why_optimizer(options: PlanOptions, config: TrainConfig) -> tuple[str, str]:
    if options.optimizer is not None:
        return "asked", "asked for"
    if config.optimizer == "adamw_torch_fused":
        return "fused", "one kernel, no workspace; two states for each weight that learns"
    return "smaller-states", "smaller states, on a par with 32-bit ones (8-bit Optimizers, 2021)"


def _why_lora(options: PlanOptions, config: TrainConfig) -> tuple[str, str]:
    if options.lora_targets is not None or config.lora_targets != "all-linear":
        return "asked", "asked for"
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


def _why_loss(model: ModelSpec, options: PlanOptions, config: TrainConfig) -> tuple[str, str]:
    tokens = config.micro_batch * config.sequence_length
    whole = _LOGITS_BYTES * tokens * int(model.config["vocab_size"])
    if config.loss is Loss.CHUNKED:
        return "chunked", f"TRL's tiles; whole logits would take {gib(whole)}"
    if config.loss is Loss.LIGER:
        code = "fused" if options.loss is None else "asked"
        return code, f"Liger's fused kernels: whole logits would take {gib(whole)}; {liger_measured()}"
    code = "faster" if options.loss is None else "asked"
    return code, f"whole logits, about {gib(whole)}"


def _why_allocator(options: PlanOptions) -> tuple[str, str]:
    if options.allocator is not None:
        return "asked", "asked for"
    return (
        "fragmentation",
        "segments that grow leave fewer gaps; with fixed ones it would not fit. Linux only",
    )


def assumptions(ask: Question, found: Examined) -> Iterator[str]:
    """What the figures take for granted."""
    model, gpu, options, config = ask.model, ask.gpu, ask.options, found.config
    if found.retries:
        yield (
            f"tight: the allocator empties its cache {found.retries} times on the way, which costs time that is not counted"
        )
    positions = model.config.get("max_position_embeddings")
    if isinstance(positions, int) and positions < config.sequence_length:
        yield f"the model knows {positions:,} positions; beyond them it is not known to work, only to fit"
    yield f"every sequence has exactly {config.sequence_length:,} tokens, packed, none padded"
    if config.evaluates:
        yield "it evaluates on held-out data, as many sequences at a time as it trains on (--no-evaluation: it does not)"
    doubt = f"{gib(gpu.context_bytes)} ± {gib(gpu.context_uncertainty_bytes)}"
    yield f"no other process uses the card; driver and CUDA context take {doubt}"
    if options.reserve_bytes:
        yield f"{gib(options.reserve_bytes)} are left to others, as asked"
    yield f"a risk of {options.risk:.1%} that the run needs more memory than is said to fit (--risk)"
    yield from assumed_for(config)
    liger = (LIGER,) if config.loss is Loss.LIGER else ()
    if liger:
        yield _LIGER_NEEDS
    names = ("torch", "transformers", "peft", "bitsandbytes", "trl", *liger)
    versions = ", ".join(f"{name} {installed_version(name)}" for name in names)
    measured = ask.estimator.evidence(model, config, gpu).basis is Basis.MEASURED
    yield f"{'all but the peaks is simulated' if measured else 'simulated, not measured'}, with {versions}"
