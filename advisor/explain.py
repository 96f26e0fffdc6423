"""Why a config needs what it needs: what is alive at its peak, and what each single change would save and cost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from advisor.catalog.liger import liger_trains
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.evidence import Evidence
from advisor.fast_adapters import may_fuse_adapters, may_leave_inputs
from advisor.phases import peak_words
from advisor.records import (
    QUANTISED,
    Allocator,
    ByteInterval,
    Checkpointing,
    GpuSpec,
    Loss,
    Method,
    ModelSpec,
    Precision,
    TrainConfig,
)
from advisor.replay.anatomy import Moment, Share
from advisor.units import gib

_FEW_TARGETS = ("q_proj", "v_proj")  # LoRA's first paper adapted these


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One single change, what it saves and what it costs."""

    change: str
    saved_reserved_bytes: int  # negative: it needs more
    saved_allocated_bytes: int
    cost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One config on one card, taken apart."""

    model: str
    config: TrainConfig
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    reserved: ByteInterval  # with its range; measured where it was, while all else is simulated
    evidence: Evidence
    peak_phase: str
    peak_step: str  # first-step or later-steps; empty where the peak comes in none
    phases: tuple[tuple[str, int], ...]  # each with its allocated peak
    shares: tuple[Share, ...]
    moments: tuple[Moment, ...]
    levers: tuple[Lever, ...]
    not_traced: tuple[str, ...]  # changes whose step could not be traced, and why

    @property
    def basis(self) -> str:
        """What the reserved peak is known by, with its range, for people."""
        told = self.reserved
        return f"{gib(told.value)}, 90 %: {gib(told.low)} to {gib(told.high)}; {self.evidence.text}"

    @property
    def where(self) -> str:
        """Where the peak comes, in words."""
        return peak_words(self.peak_phase, self.peak_step)

    def by_category(self) -> dict[str, int]:
        """Bytes at the peak by category, largest first."""
        totals: dict[str, int] = {}
        for share in self.shares:
            totals[share.category] = totals.get(share.category, 0) + share.size_bytes
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def explain(  # noqa: PLR0913 - two have a default
    model: ModelSpec,
    config: TrainConfig,
    gpu: GpuSpec | None,
    estimator: Estimator,
    *,
    stretches: int = 72,
    levers_too: bool = True,
) -> Explanation:
    """The config taken apart; changes that need a tape which is not there are traced, unless no levers are wanted.

    Raises: AdvisorError where the config itself can't be traced.
    """
    liger = gpu is not None and liger_trains(model, gpu)
    asked = [change for change in changes(config) if liger or change[1].loss is not Loss.LIGER]
    asked = asked if levers_too else []
    estimator.prepare(model, [config, *(changed for _, changed, _ in asked)], gpu)
    here = estimator.outcome(model, config, gpu)
    levers, failed = [], []
    for name, changed, cost in asked:
        try:
            there = estimator.outcome(model, changed, gpu)
        except AdvisorError as error:
            failed.append(f"{name}: {error.what}")
            continue
        saved = here.peak_reserved_bytes - there.peak_reserved_bytes
        allocated = here.peak_allocated_bytes - there.peak_allocated_bytes
        levers.append(
            Lever(change=name, saved_reserved_bytes=saved, saved_allocated_bytes=allocated, cost=cost)
        )
    return Explanation(
        model=model.name,
        config=config,
        peak_allocated_bytes=here.peak_allocated_bytes,
        peak_reserved_bytes=here.peak_reserved_bytes,
        reserved=estimator.reserved(model, config, gpu),
        evidence=estimator.evidence(model, config, gpu),
        peak_phase=here.peak_phase,
        peak_step=here.peak_step,
        phases=tuple(here.phase_allocated_bytes.items()),
        shares=estimator.shares_at_peak(model, config, gpu),
        moments=estimator.timeline(model, config, gpu, stretches),
        levers=tuple(sorted(levers, key=lambda lever: -lever.saved_reserved_bytes)),
        not_traced=tuple(failed),
    )


def changes(config: TrainConfig) -> Iterator[tuple[str, TrainConfig, str]]:
    """Name, changed config and cost of each single change that the config does not have yet."""
    reentrant = config.precision is Precision.INT8  # LLM.int8 keeps every input through the other kind
    kind = Checkpointing.REENTRANT if reentrant else Checkpointing.NON_REENTRANT
    if config.checkpointing is Checkpointing.NONE:
        yield (
            f"checkpointing {kind.value}",
            replace(config, checkpointing=kind),
            "each layer is computed twice",
        )
    elif config.checkpointing is not kind and reentrant:
        yield "checkpointing reentrant", replace(config, checkpointing=kind), "none: both recompute as much"
    if config.loss is Loss.STOCK:
        yield (
            "chunked loss",
            replace(config, loss=Loss.CHUNKED),
            "none known: the logits are computed in tiles",
        )
    if config.loss is not Loss.LIGER:
        liger = replace(config, loss=Loss.LIGER)
        yield "Liger kernels", liger, "none: a step takes less time. Needs the package liger-kernel"
    if config.micro_batch > 1:
        half = replace(
            config, micro_batch=config.micro_batch // 2, accumulation_steps=config.accumulation_steps * 2
        )
        yield f"micro-batch {half.micro_batch}", half, "as many tokens a step in more, smaller launches"
    if config.evaluates and config.evaluated.micro_batch > config.micro_batch:
        alike = replace(config, evaluation_batch=config.micro_batch)
        yield f"evaluation in batches of {config.micro_batch}", alike, "none: the evaluation takes longer"
    if config.sequence_length > 1024:
        shorter = replace(config, sequence_length=config.sequence_length // 2)
        yield f"sequence length {shorter.sequence_length:,}", shorter, "longer examples are cut"
    if config.allocator is Allocator.DEFAULT:
        yield "expandable segments", replace(config, allocator=Allocator.EXPANDABLE), "none known; Linux only"
    if config.optimizer.startswith("adamw_torch"):
        yield "8-bit AdamW", replace(config, optimizer="adamw_8bit"), "optimizer states in 8 bits"
    yield from _weight_changes(config)


def _weight_changes(config: TrainConfig) -> Iterator[tuple[str, TrainConfig, str]]:
    if config.method is Method.LORA:
        if config.lora_targets == "all-linear":
            yield (
                "adapters on q and v alone",
                replace(config, lora_targets=_FEW_TARGETS),
                "fewer weights learn",
            )
        casts = config.cast_adapter_inputs and config.adapter_dtype == "fp32"
        if casts and may_leave_inputs(config):
            kept = replace(config, cast_adapter_inputs=False)
            yield "adapter inputs not cast", kept, "none: autocast casts them back anyway"
        if may_fuse_adapters(config) and not config.fused_adapters:
            fused = replace(config, fused_adapters=True)
            yield "adapters fused into their layers", fused, "none known: one rounding where PEFT has three"
        if config.precision not in QUANTISED:
            yield (
                "NF4 base",
                replace(config, precision=Precision.NF4),
                "weights in 4 bits, unpacked at each use",
            )
        if config.kbit_prepare:
            plain = replace(config, kbit_prepare=False)
            yield "no upcast of norms and head", plain, "norms and head stay in half precision"
