"""The frozen records that everything speaks in: what to train, on what, and what it will cost."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from advisor.errors import AdvisorError
from advisor.evidence import Basis, Evidence, Peaks


class Method(StrEnum):
    """Which weights learn."""

    LORA = "lora"  # QLoRA is LORA over Precision.NF4
    FULL = "full"
    LAST_LAYERS = "last-layers"


class Precision(StrEnum):
    """How the base weights are stored."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"  # bitsandbytes LLM.int8
    NF4 = "nf4"  # bitsandbytes 4-bit NormalFloat with double quantisation
    NF4_SINGLE = "nf4-single"


class Autocast(StrEnum):
    """The dtype that torch.autocast computes in, or none."""

    NONE = "none"
    BF16 = "bf16"
    FP16 = "fp16"


class Checkpointing(StrEnum):
    """Which kind of gradient checkpointing wraps each decoder layer."""

    NONE = "none"
    NON_REENTRANT = "non-reentrant"
    REENTRANT = "reentrant"
    OFFLOADED = "offloaded"  # non-reentrant; the layer's input waits in the host's memory


class Attention(StrEnum):
    """Attention implementation asked of transformers."""

    AUTO = "auto"
    SDPA = "sdpa"
    EAGER = "eager"
    FLASH_ATTENTION_2 = "flash_attention_2"


class LoraVariant(StrEnum):
    """What PEFT adds to plain LoRA."""

    NONE = "none"
    DORA = "dora"  # weight-decomposed: a magnitude for each output feature learns too
    RSLORA = "rslora"  # rank-stabilised: scaled by the root of the rank


class Loss(StrEnum):
    """Where the cross-entropy is computed."""

    STOCK = "stock"  # transformers' own: whole logits, upcast to fp32
    CHUNKED = "chunked"  # TRL's: tiles of the logits
    LIGER = "liger"  # liger-kernel's, with its kernels for norms, rotary positions and the MLP


class Loop(StrEnum):
    """Who drives the step."""

    TRAINER = "trainer"
    BARE = "bare"  # a hand-written loop that keeps the model's output alive through backward


class Allocator(StrEnum):
    """PYTORCH_CUDA_ALLOC_CONF: default or expandable_segments:True."""

    DEFAULT = "default"
    EXPANDABLE = "expandable"


QUANTISED = (Precision.INT8, Precision.NF4, Precision.NF4_SINGLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One complete way to train; the key of every tape and every measurement."""

    method: Method = Method.LORA
    precision: Precision = Precision.BF16
    autocast: Autocast = Autocast.BF16
    micro_batch: int = 1  # sequences in one forward pass (per_device_train_batch_size)
    sequence_length: int = 2048  # tokens in one sequence (max_seq_length)
    accumulation_steps: int = 1  # forward passes in one optimizer step
    checkpointing: Checkpointing = Checkpointing.NONE
    optimizer: str = "adamw_torch_fused"  # transformers' names
    trainable_layers: int = 4  # only read by Method.LAST_LAYERS
    lora_rank: int = 16
    lora_targets: str | tuple[str, ...] = "all-linear"
    lora_dropout: float = 0.0
    adapter_dtype: str = "fp32"  # fp32 or bf16
    attention: Attention = Attention.AUTO
    loss: Loss = Loss.STOCK
    loop: Loop = Loop.TRAINER
    kbit_prepare: bool = False  # peft.prepare_model_for_kbit_training
    allocator: Allocator = Allocator.DEFAULT
    checkpointed_layers: int | None = None  # the first so many decoder layers; None: all
    lora_variant: LoraVariant = LoraVariant.NONE
    cast_adapter_inputs: bool = True  # PEFT casts what adapters of unquantised layers read to their dtype
    fused_adapters: bool = False  # adapters' products are added where they are made (advisor/step/fused.py)
    evaluates: bool = False  # on held-out data, on the way or at the end: then what that takes counts
    evaluation_batch: int | None = None  # sequences in one of its forward passes; None: as in training

    @property
    def tokens_per_step(self) -> int:
        """Tokens behind one optimizer step."""
        return self.micro_batch * self.sequence_length * self.accumulation_steps

    @property
    def effective_batch(self) -> int:
        """Sequences behind one optimizer step."""
        return self.micro_batch * self.accumulation_steps

    @property
    def evaluated(self) -> "TrainConfig":
        """The config whose step has the batches of the evaluation."""
        return replace(self, micro_batch=self.evaluation_batch or self.micro_batch, evaluation_batch=None)

    @property
    def recomputed(self) -> str:
        """The kind of checkpointing in words, and of how many layers where not of all."""
        some = self.checkpointing is not Checkpointing.NONE and self.checkpointed_layers is not None
        return (
            f"{self.checkpointing.value}, first {self.checkpointed_layers} layers"
            if some
            else self.checkpointing.value
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the order of the fields; `config_from_json` reads it back.

        Fields that came later are left out where they have their default, so that the names of tapes and the rows
        of profiles that are older than them stay as they are.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = {f.name: f.default for f in fields(self) if f.name in _LATER}
        return {k: _plain(v) for k, v in values.items() if k not in defaults or v != defaults[k]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model as its config.json describes it."""

    name: str
    config: dict[str, Any]  # the content of config.json
    parameters: int  # weights in the causal LM, tied ones once
    source: str  # where the facts come from
    hub_name: str = ""  # where weights of that shape can be had; empty where it is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """A card as its driver reports it; see `catalog/gpus.toml` for the sources.

    Of `board_bytes`, which NVML calls the total, torch sees `memory_bytes`; the driver keeps the rest, and NVML
    counts it as used. `context_bytes` comes out of what torch sees.
    """

    slug: str
    name: str  # as the driver and torch report it
    aliases: tuple[str, ...] = ()
    vendor: str = "nvidia"
    class_gb: int  # the size on the box
    memory_bytes: int  # total_memory as torch reports it
    board_bytes: int = 0  # memory.total as nvidia-smi reports it; 0 where unknown
    unified: bool = False  # shares its memory with the host
    compute_capability: tuple[int, int]
    multiprocessors: int
    bf16: bool  # native, not emulated
    bandwidth_bytes_per_second: float
    matmul_flops_per_second: float  # dense fp16/bf16, fp32 accumulate
    context_bytes: int  # device bytes that are not the allocator's: context, modules
    context_uncertainty_bytes: int
    cublas_workspace_bytes: int  # what torch takes for each cuBLAS handle and stream
    sources: dict[str, str] = field(default_factory=dict)  # field -> source, date, confidence

    @property
    def driver_bytes(self) -> int:
        """What NVML counts as used on an idle card: the driver's own, which torch's total leaves out."""
        return max(self.board_bytes - self.memory_bytes, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with the range that holds 90 % of real outcomes."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteInterval:
    """Bytes with the range that holds 90 % of real outcomes."""

    value: int
    low: int
    high: int

    def to_json(self) -> dict[str, int]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one config costs on one card; the answer of `advisor estimate`.

    Without a card, `peak_device_bytes`, `step_seconds` and `tokens_per_second` are None. Where the config was measured
    on the card the three peaks are the measured ones, and `simulated` has the others; all else is simulated.
    """

    evidence: Evidence
    static_bytes: int  # allocated when the first forward begins: weights, adapters, buffers
    peak_allocated_bytes: ByteInterval  # torch.cuda.max_memory_allocated over the run
    peak_reserved_bytes: ByteInterval  # torch.cuda.max_memory_reserved over the run
    minimum_reserved_bytes: int  # the smallest cap under which the replay does not run out
    peak_device_bytes: ByteInterval | None  # NVML's figure for the card
    phases: tuple[
        tuple[str, int], ...
    ]  # phase, peak allocated bytes; also of an evaluation that the run does without
    peak_phase: str  # in which the allocated peak comes
    peak_step: str  # first-step or later-steps; empty where it comes in no step
    at_peak: tuple[tuple[str, int], ...]  # category, bytes alive at the allocated peak
    merge_host_bytes: int | None = (
        None  # of main memory, to merge the adapter afterwards; None: there is none
    )
    step_seconds: Interval | None = None
    tokens_per_second: Interval | None = None
    simulated: Peaks | None = None  # None where the peaks above are simulated

    @property
    def basis(self) -> Basis:
        """Where the peaks come from."""
        return self.evidence.basis

    def to_json(self) -> dict[str, Any]:
        """The contract's object, without `id` and `error`."""
        return {
            "basis": self.basis.value,
            "evidence": self.evidence.to_json(),
            "static_bytes": self.static_bytes,
            "peak_allocated_bytes": self.peak_allocated_bytes.to_json(),
            "peak_reserved_bytes": self.peak_reserved_bytes.to_json(),
            "minimum_reserved_bytes": self.minimum_reserved_bytes,
            "peak_device_bytes": self.peak_device_bytes and self.peak_device_bytes.to_json(),
            "phases": [{"phase": n, "peak_allocated_bytes": b} for n, b in self.phases],
            "peak_phase": self.peak_phase,
            "peak_step": self.peak_step,
            "merge_host_bytes": self.merge_host_bytes,
            "at_peak": [{"category": n, "bytes": b} for n, b in self.at_peak],
            "step_seconds": self.step_seconds and self.step_seconds.to_json(),
            "tokens_per_second": self.tokens_per_second and self.tokens_per_second.to_json(),
            "simulated": self.simulated and self.simulated.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a choice was made; the code is for tests, the text for people."""

    code: str
    text: str


_ENUMS: dict[str, type[StrEnum]] = {
    "method": Method,
    "precision": Precision,
    "autocast": Autocast,
    "checkpointing": Checkpointing,
    "attention": Attention,
    "loss": Loss,
    "loop": Loop,
    "allocator": Allocator,
    "lora_variant": LoraVariant,
}
_INTEGERS = (
    "micro_batch",
    "sequence_length",
    "accumulation_steps",
    "trainable_layers",
    "lora_rank",
    "checkpointed_layers",
    "evaluation_batch",
)
_LATER = (
    "checkpointed_layers",
    "lora_variant",
    "cast_adapter_inputs",
    "fused_adapters",
    "evaluates",
    "evaluation_batch",
)
_BOOLEANS = ("kbit_prepare", "cast_adapter_inputs", "fused_adapters", "evaluates")
# Above these a number is a slip of the keyboard, and a trace of it would never end.
_LARGEST = 1 << 24


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def all_values(config: TrainConfig) -> dict[str, Any]:
    """Plain values of every field, those that `to_json` leaves out too: to compare two configs by."""
    return {f.name: _plain(getattr(config, f.name)) for f in fields(config)}


def config_from_json(row: dict[str, Any]) -> TrainConfig:
    """The config that a row of JSON describes; absent fields take the defaults.

    Raises: AdvisorError naming the field, its value and what is allowed. Unknown keys are the
    caller's to refuse: a row also holds the model and the card.
    """
    values: dict[str, Any] = {}
    for f in fields(TrainConfig):
        if f.name in row and row[f.name] is not None:
            values[f.name] = _checked(f.name, row[f.name])
    return TrainConfig(**values)


def _checked(name: str, value: Any) -> Any:  # noqa: PLR0911 - one a kind of field
    if name in _ENUMS:
        return _one_of(name, value, tuple(_ENUMS[name]), _ENUMS[name])
    if name in _INTEGERS:
        return _positive_integer(name, value)
    if name == "adapter_dtype":
        return _one_of(name, value, ("fp32", "bf16"), str)
    if name in _BOOLEANS:
        return _one_of(name, value, (True, False), bool)
    if name == "lora_dropout":
        return _fraction(name, value)
    if name == "lora_targets":
        return _targets(value)
    return _text(name, value)


def _bad(name: str, value: Any, allowed: str) -> AdvisorError:
    return AdvisorError(f"{name} = {value!r} is not allowed.", why=f"expected {allowed}", fix="")


def _one_of(name: str, value: Any, allowed: tuple[Any, ...], make: Any) -> Any:
    if value not in allowed or isinstance(value, bool) != (make is bool):
        raise _bad(name, value, "one of " + ", ".join(str(a) for a in allowed))
    return make(value)


def _positive_integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise _bad(name, value, f"an integer from 1 to {_LARGEST}")
    return value


def _fraction(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise _bad(name, value, "a number from 0 to below 1")
    return float(value)


def _targets(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise _bad("lora_targets", value, '"all-linear" or a list of module names')


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(name, value, "text")
    return value
