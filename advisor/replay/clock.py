"""The clock: seconds of one optimizer step, from its kernels, a card's rates and a host's.

The host launches kernels one after another, the card runs them one after another, and each waits for nobody but the
other. So a pass takes as long as the slower of the two, and a little longer where they are near a tie; where the step
reads back from the card in every layer, as LLM.int8 does, they wait for each other more often. `catalog/pace.toml` holds
the constants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import hypot

from advisor.replay.work import BACKWARD, FORWARD, OPTIMIZER, Sized

_PRODUCTS = ("matmul", "attention")


@dataclass(frozen=True, slots=True)
class AttentionPace:
    """What a launch of one attention kernel takes: a part of its own, one by its operations and one by what it moves."""

    launch: float  # seconds
    operation: float  # seconds for one
    byte: float  # seconds for one

    def seconds(self, operations: int, moved_bytes: int) -> float:
        """Of one launch."""
        return self.launch + self.operation * operations + self.byte * moved_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPace:
    """How fast a card runs kernels, in units a second; `floor_seconds` is what the smallest one takes."""

    matmul: float  # operations, 16-bit
    matmul_fp32: float
    matmul_int8: float
    memory: float  # bytes, of elementwise kernels; as those below, read and written
    cached: float  # bytes, where what a kernel moves fits into the L2 cache
    cache_bytes: int
    triton: float  # bytes, of Liger's kernels
    copy: float  # bytes, of copies, most of which change the dtype
    copy_cached: float
    host_bus: float  # bytes between the card and pinned memory of the host
    dequantise: float  # bytes
    quantise: float  # bytes
    optimizer_8bit: float  # bytes
    attention: Mapping[str, "AttentionPace"]  # by kind
    attention_share: float  # of the matmul rate, for kinds that are not listed
    floor_seconds: float
    gap_seconds: float  # between one kernel and the next
    int8_unseen: float  # the seconds of a pass with LLM.int8 over those of the kernels that the tape tells of


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPace:
    """Seconds that a host takes to launch one kernel, by kind, in Python's forward pass and in autograd's."""

    forward_product: float
    forward_copy: float
    forward_other: float
    backward_product: float
    backward_copy: float
    backward_other: float
    quantised: float  # more for each launch of bitsandbytes' library
    triton: float  # a launch by Triton, with what of Liger's Python belongs to it
    optimizer: float  # a launch of the optimizer
    optimizer_8bit: float
    recomputed_non_reentrant: float  # more for each launch that checkpointing repeats
    recomputed_reentrant: float
    step: float  # once a step: the data, the trainer's own
    overlap: (
        float  # how sharply the slower of host and card decides: the exponent of the norm that joins them
    )
    overlap_int8: float  # where both wait for each other in every layer

    def times(self, share: float) -> "HostPace":
        """A host that takes so many times as long for everything."""
        plain = {f.name: getattr(self, f.name) * share for f in fields(self)}
        return HostPace(**plain | {"overlap": self.overlap, "overlap_int8": self.overlap_int8})


@dataclass(frozen=True, slots=True)
class PassTime:
    """What one pass keeps each of the two busy."""

    host_seconds: float
    card_seconds: float

    def together(self, overlap: float) -> float:
        """Seconds of both: the larger one, and near a tie more; 1 would add them up."""
        high, low = sorted((self.host_seconds, self.card_seconds), reverse=True)
        return float(high * (1 + (low / high) ** overlap) ** (1 / overlap)) if high else 0.0


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step, and what of it keeps each of the two busy."""

    seconds: float
    host_seconds: float
    card_seconds: float


def step_time(
    sized: Mapping[str, Sequence[Sized]],
    card: CardPace,
    host: HostPace,
    *,
    accumulation_steps: int,
    checkpointing: str = "none",
) -> StepTime:
    """One step of so many micro-batches; `sized` is what `work.at_shape` gives."""
    return StepCost.of(sized, card).time(
        host, accumulation_steps=accumulation_steps, checkpointing=checkpointing
    )


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step's passes cost whatever the host: seconds of the card, and launches by kind."""

    int8: bool
    card_seconds: Mapping[str, float]
    launches: "Mapping[str, _Launched]"

    @classmethod
    def of(cls, sized: Mapping[str, Sequence[Sized]], card: CardPace) -> "StepCost":
        """Of the kernels of each pass, on the card."""
        int8 = any(kernel.kind == "matmul.int8" for kernel in sized[FORWARD])
        return cls(
            int8,
            {
                phase: (card.int8_unseen if int8 and phase != OPTIMIZER else 1.0)
                * card_seconds(kernels, card)
                for phase, kernels in sized.items()
            },
            {phase: _launches(kernels) for phase, kernels in sized.items()},
        )

    def time(self, host: HostPace, *, accumulation_steps: int, checkpointing: str = "none") -> StepTime:
        """One step of so many micro-batches with the host."""
        hosts = host_seconds(self.launches, host, checkpointing)
        seconds, host_busy, card_busy = host.step, host.step, 0.0
        for phase, card_spent in self.card_seconds.items():
            optimizes = phase == OPTIMIZER
            times = 1 if optimizes else accumulation_steps
            spent = PassTime(hosts[phase], card_spent)
            waits = self.int8 and not optimizes
            seconds += times * spent.together(host.overlap_int8 if waits else host.overlap)
            host_busy += times * spent.host_seconds
            card_busy += times * spent.card_seconds
        return StepTime(seconds, host_busy, card_busy)


def card_seconds(kernels: Sequence[Sized], card: CardPace) -> float:
    """What all of them keep the card busy, with the gaps between them."""
    return sum(k.count * (kernel_seconds(k, card) + card.gap_seconds) for k in kernels)


def kernel_seconds(kernel: Sized, card: CardPace) -> float:
    """What one launch keeps the card busy."""
    kind, moved = kernel.kind, kernel.moved_bytes
    if kind.startswith("attention"):
        if kind in card.attention:
            return card.attention[kind].seconds(kernel.operations, moved)
        rate = (card.matmul_fp32 if kind.endswith("fp32") else card.matmul) * card.attention_share
        return card.floor_seconds + kernel.operations / rate + moved / card.memory
    if kind.startswith("matmul"):
        rate = {"matmul.fp32": card.matmul_fp32, "matmul.int8": card.matmul_int8}.get(kind, card.matmul)
        return card.floor_seconds + hypot(kernel.operations / rate, moved / card.memory)
    return card.floor_seconds + moved / _moving(kind, moved, card)


def _moving(kind: str, moved_bytes: int, card: CardPace) -> float:
    special = {
        "triton": card.triton,
        "host": card.host_bus,
        "dequantise": card.dequantise,
        "quantise": card.quantise,
        "optimizer": card.optimizer_8bit,
    }
    if kind in special:
        return special[kind]
    cached = moved_bytes <= card.cache_bytes
    if kind == "copy":
        return card.copy_cached if cached else card.copy
    return card.cached if cached else card.memory


def host_seconds(launches: "Mapping[str, _Launched]", host: HostPace, checkpointing: str) -> dict[str, float]:
    """What each pass keeps the host busy; checkpointing runs the forward pass again within the backward one."""
    forward = launches[FORWARD]
    again = _again(forward, launches[BACKWARD]) if checkpointing != "none" else _Launched()
    rest = launches[BACKWARD] - again
    repeated = host.recomputed_reentrant if checkpointing == "reentrant" else host.recomputed_non_reentrant
    optimizer = launches[OPTIMIZER]
    return {
        FORWARD: _forward(forward, host),
        BACKWARD: _forward(again, host)
        + repeated * again.all
        + host.backward_product * rest.products
        + host.backward_copy * rest.copies
        + host.backward_other * rest.others
        + host.quantised * rest.quantised
        + host.triton * rest.tritons,
        OPTIMIZER: host.optimizer * (optimizer.products + optimizer.copies + optimizer.others)
        + host.optimizer_8bit * optimizer.updates,
    }


@dataclass(frozen=True, slots=True)
class _Launched:
    products: int = 0
    copies: int = 0
    others: int = 0
    quantised: int = 0
    tritons: int = 0
    updates: int = 0

    @property
    def all(self) -> int:
        return self.products + self.copies + self.others + self.quantised + self.tritons

    def __sub__(self, other: "_Launched") -> "_Launched":
        return _Launched(
            self.products - other.products,
            self.copies - other.copies,
            self.others - other.others,
            self.quantised - other.quantised,
            self.tritons - other.tritons,
            self.updates - other.updates,
        )


def _again(forward: _Launched, backward: _Launched) -> _Launched:
    return _Launched(
        min(forward.products, backward.products),
        min(forward.copies, backward.copies),
        min(forward.others, backward.others),
        min(forward.quantised, backward.quantised),
        min(forward.tritons, backward.tritons),
    )


def _launches(kernels: Sequence[Sized]) -> _Launched:
    counts = {"products": 0, "copies": 0, "others": 0, "quantised": 0, "tritons": 0, "updates": 0}
    for kernel in kernels:
        counts[_group(kernel.kind)] += kernel.count
    return _Launched(**counts)


def _group(kind: str) -> str:
    if kind.startswith(_PRODUCTS):
        return "products"
    groups = {
        "copy": "copies",
        "dequantise": "quantised",
        "quantise": "quantised",
        "triton": "tritons",
        "optimizer": "updates",
    }
    return groups.get(kind, "others")


def _forward(launched: _Launched, host: HostPace) -> float:
    return (
        host.forward_product * launched.products
        + host.forward_copy * launched.copies
        + host.forward_other * launched.others
        + host.quantised * launched.quantised
        + host.triton * launched.tritons
    )
