"""The ways to train that a plan chooses among: method and precision, in order of preference.

A lane fixes what changes the result of training (method, precision of the base, compute dtype); within a
lane, micro-batch and checkpointing change only memory and speed.
"""

from dataclasses import dataclass, replace

from advisor.catalog.liger import liger_trains
from advisor.catalog.traps import unsupported_precision
from advisor.fast_adapters import with_fast_adapters
from advisor.plan.dimensions import recomputing, variants
from advisor.plan.goals import Goal
from advisor.plan.room import DEFAULT_RISK
from advisor.records import (
    Allocator,
    Attention,
    Autocast,
    Checkpointing,
    GpuSpec,
    LoraVariant,
    Loss,
    Method,
    ModelSpec,
    Precision,
    TrainConfig,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the user fixed; None leaves it to the planner."""

    effective_batch: int = 16  # sequences behind one optimizer step
    sequence_length: int = 2048
    method: Method | None = None
    precision: Precision | None = None
    checkpointing: Checkpointing | None = None
    checkpointed_layers: int | None = None
    micro_batch: int | None = None
    loss: Loss | None = None
    optimizer: str | None = None
    lora_rank: int | None = None
    lora_targets: str | tuple[str, ...] | None = None
    trainable_layers: int = 4
    lora_variant: LoraVariant | None = None
    attention: Attention | None = None
    allocator: Allocator | None = None
    reserve_bytes: int = 0  # for a display, or other programs
    evaluates: bool = True  # on held-out data, in the batches of training: what that takes must fit, too
    goal: Goal = Goal.QUALITY
    risk: float = DEFAULT_RISK  # chance that the run needs more than the card gives
    thorough: bool = False  # vary also what is usually left as it is, and trace what that takes


# The shipped model reads entries of at most 245 tokens: a block of 256 holds about one.
# It trains on a CPU, too, where Liger's kernels don't run.
DEMO_OPTIONS = PlanOptions(
    precision=Precision.NF4, sequence_length=256, effective_batch=16, micro_batch=8, loss=Loss.CHUNKED
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One method over one precision."""

    label: str
    config: TrainConfig
    floor_bytes_per_parameter: float  # of what can't be avoided: weights; trained ones thrice more
    unsupported: str = ""  # why the card can't do it at all

    @property
    def floor_is_of(self) -> str:
        """What the floor counts, in words."""
        if self.config.method is Method.FULL:
            return "weights, gradients and optimizer states"
        return "the weights"

    def floor_bytes(self, model: ModelSpec) -> int:
        """Less than this no config of the lane takes."""
        return int(model.parameters * self.floor_bytes_per_parameter)

    @property
    def checkpointing(self) -> Checkpointing:
        """The kind to use where activations must be recomputed."""
        return recomputing(self.config)

    def with_shape(self, micro_batch: int, options: PlanOptions, kind: Checkpointing) -> TrainConfig:
        """The lane's config at one micro-batch, keeping the effective batch."""
        return replace(at_micro_batch(self.config, micro_batch, options), checkpointing=kind)

    def variants(self, options: PlanOptions) -> list[TrainConfig]:
        """The lane's config in every way that a plan varies it, but for its shape."""
        return list(variants(self.config, options))


def at_micro_batch(config: TrainConfig, micro_batch: int, options: PlanOptions) -> TrainConfig:
    """The config at that micro-batch, keeping the effective batch."""
    steps = options.effective_batch // micro_batch
    return replace(config, micro_batch=micro_batch, accumulation_steps=steps)


_BYTES = {
    Precision.FP32: 4.0,
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.INT8: 1.0,
    Precision.NF4: 0.5,
    Precision.NF4_SINGLE: 0.5,
}
_NAMES = {
    Precision.FP32: "FP32",
    Precision.BF16: "BF16",
    Precision.FP16: "FP16",
    Precision.INT8: "8-bit",
    Precision.NF4: "NF4",
    Precision.NF4_SINGLE: "NF4 (single)",
}
_TRAINED_COPIES = 4  # weight, gradient, and AdamW's two moments, each in the weight's dtype


def lanes(gpu: GpuSpec, options: PlanOptions, model: ModelSpec) -> list[Lane]:
    """Every lane for the model, best first: adapters before whole layers, and the least quantised base first.

    NF4 comes before 8-bit: it is smaller and, in bitsandbytes, faster; QLoRA (Dettmers et al. 2023,
    table 3) finds NF4 with double quantisation on a par with 16-bit adapters. FP32 comes last: a frozen
    base gains nothing from bits that the compute dtype drops. Only what the user fixed is left in.
    """
    half = Precision.BF16 if gpu.bf16 else Precision.FP16
    other = Precision.FP16 if gpu.bf16 else Precision.BF16
    adapters = (half, Precision.NF4, Precision.NF4_SINGLE, Precision.INT8, other, Precision.FP32)
    whole = (Precision.FP32, Precision.BF16) if gpu.bf16 else (Precision.FP32,)
    loss = _loss(gpu, options, model)
    made = [_lane(Method.LORA, p, gpu, options, loss) for p in adapters]
    made += [_lane(m, p, gpu, options, loss) for m in (Method.LAST_LAYERS, Method.FULL) for p in whole]
    return [lane for lane in made if _asked(lane.config, options)]


def _loss(gpu: GpuSpec, options: PlanOptions, model: ModelSpec) -> Loss:
    """Liger's where speed is the goal, for it needs a package and a compiler on the card's machine."""
    fast = options.goal is Goal.FASTEST and liger_trains(model, gpu)
    return Loss.LIGER if fast else Loss.CHUNKED


def _asked(config: TrainConfig, options: PlanOptions) -> bool:
    if config.precision is Precision.NF4_SINGLE and options.precision is not Precision.NF4_SINGLE:
        return False  # double quantisation is smaller and costs nothing measurable
    right_method = options.method in (None, config.method)
    return right_method and options.precision in (None, config.precision)


def _lane(method: Method, precision: Precision, gpu: GpuSpec, options: PlanOptions, loss: Loss) -> Lane:
    plain = TrainConfig(
        method=method,
        precision=precision,
        autocast=_autocast(precision, gpu),
        sequence_length=options.sequence_length,
        trainable_layers=options.trainable_layers,
        loss=loss,
        allocator=options.allocator or Allocator.DEFAULT,
        evaluates=options.evaluates,
    )
    config = next(variants(with_fast_adapters(plain), replace(options, thorough=False)))
    return Lane(
        label=_label(method, precision, options),
        config=config,
        floor_bytes_per_parameter=_BYTES[precision] * (_TRAINED_COPIES if method is Method.FULL else 1),
        unsupported=_unsupported(config, gpu),
    )


def _autocast(precision: Precision, gpu: GpuSpec) -> Autocast:
    if precision is Precision.FP16:
        return Autocast.FP16
    return Autocast.BF16 if gpu.bf16 else Autocast.FP16


def _label(method: Method, precision: Precision, options: PlanOptions) -> str:
    if method is Method.FULL:
        return f"{_NAMES[precision]} full fine-tune"
    if method is Method.LAST_LAYERS:
        return f"{_NAMES[precision]} last {options.trainable_layers} layers"
    return "QLoRA, NF4" if precision is Precision.NF4 else f"{_NAMES[precision]} LoRA"


def _unsupported(config: TrainConfig, gpu: GpuSpec) -> str:
    if config.precision is Precision.BF16 and not gpu.bf16:
        return f"{gpu.name} has no bf16"
    return unsupported_precision(gpu, config)
