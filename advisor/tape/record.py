"""The tape: what one run of the step allocates, frees and computes, for every batch and length of its regime.

A tape is recorded once, on a model cut to a few layers, and holds sizes as exact integer expressions in
micro-batch and sequence length. `unroll` gives the events of the whole model at one shape; `file.py`
says how a tape lies on the disk.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from advisor.errors import AdvisorError
from advisor.tape.events import NO_PART, Event, repeated

# Parts of a tape from here on are tiles of the chunked loss or Liger's, parts below are decoder layers.
TILES = 1 << 12
TILE_TOKENS = 4096  # trl 1.16 `kernels/chunked_logprob.py`, TOKEN_CHUNK_SIZE
TRACED_TILES = 3  # first, the one that is repeated, last
MIDDLE_TILE = TILES + TRACED_TILES // 2  # the part that stands for tiles that were not traced
_MOST_TILES = 1 << 14  # 67 million tokens


class Factor(NamedTuple):
    """`constant + batch*B + sequence*S + tokens*B*S`, rounded up to a multiple.

    `tile`: not 0 where the factor is what the last of several tiles of that size holds of it. `liger_tiles`: not 0
    where Liger cuts it into at most so many tiles; the factor is then one of those, the last where `tile` is not 0.
    `multiprocessors`: how often those of the card are added.
    """

    constant: int
    batch: int
    sequence: int
    tokens: int
    multiple: int
    tile: int = 0
    liger_tiles: int = 0
    multiprocessors: int = 0

    def at(self, micro_batch: int, sequence_length: int, multiprocessors: int = 0) -> int:
        """The factor's value at one shape.

        Raises: ValueError where it hangs on the card, and no multiprocessors are given.
        """
        value = (
            self.constant
            + self.batch * micro_batch
            + self.sequence * sequence_length
            + self.tokens * micro_batch * sequence_length
        )
        if self.multiprocessors:
            if not multiprocessors:
                raise ValueError("the size hangs on the card's multiprocessors")
            value += self.multiprocessors * multiprocessors
        if self.tile or self.liger_tiles:
            value = self._tile_of(value)
        return -(-value // self.multiple) * self.multiple

    def _tile_of(self, value: int) -> int:
        tile = liger_tile(value, self.liger_tiles) if self.liger_tiles else self.tile
        return (value - 1) % tile + 1 if self.tile else tile


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes (or operations) as `scale` times a product of factors, plus a share for each further layer."""

    scale: int
    factors: tuple[Factor, ...] = ()
    per_layer: int = 0  # added for each layer beyond the traced ones
    constant: str = ""  # the name of a size that the card decides, such as cublas_workspace

    def at(
        self, micro_batch: int, sequence_length: int, further_layers: int, multiprocessors: int = 0
    ) -> int:
        """The value at one shape, for a model of `further_layers` more than were traced.

        Raises: ValueError where it hangs on the card's multiprocessors, and none are given.
        """
        value = self.scale
        for factor in self.factors:
            value *= factor.at(micro_batch, sequence_length, multiprocessors)
        return value + self.per_layer * further_layers


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch: its kind, the operations it does and the bytes it moves (sums of products)."""

    kind: str
    operations: tuple[Size, ...]
    moved: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """What an allocation is: category, the module that made it, the op."""

    category: str
    module: str
    op: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """One recorded step; see the module's docstring.

    Where layers come in a repeating pattern (local and global attention), `period` layers are one part. Where only the
    first layers are checkpointed those and the others, which keep their activations, have a template each, and the
    tape answers for every count of them: `split_at` says which.
    """

    key: dict[str, Any]  # what it was recorded for
    versions: dict[str, str]  # of the packages that ran
    layers: int  # of the whole model
    traced_layers: int
    period: int  # layers in a part
    template: int  # the part that is repeated; NO_PART where all were traced
    tiled: bool  # the loss's middle tile is repeated, where a shape has more than the traced ones
    parameters: int  # of the whole model
    trainable: int
    sizes: tuple[Size, ...]
    kernels: tuple[Kernel, ...]
    labels: tuple[Label, ...]
    phases: tuple[str, ...]
    events: tuple[Event, ...] = field(repr=False)
    kept_layers: int = 0  # of the traced ones those without checkpointing, where only some have it
    kept_template: int = NO_PART  # the part that is repeated for more of those
    further_kept: int = 0  # parts that repeat it; no file says so, for it is not the same for every config
    managed: Size = Size(0)  # what a paged optimizer keeps in memory that card and host share
    liger_tiles: int = 0  # the most tiles that Liger cuts the loss into; 0 where the loss is not Liger's

    def split_at(self, checkpointed_layers: int | None) -> "Tape":
        """The tape for so many checkpointed layers, of those that it answers for."""
        if self.kept_template == NO_PART or checkpointed_layers is None:
            return self
        further = (self.layers - checkpointed_layers - self.kept_layers) // self.period
        return replace(self, further_kept=further)

    @property
    def copies(self) -> dict[int, int]:
        """How often each part that stands for layers that were not traced comes beyond the first time."""
        copies = {
            self.template: self.further_layers - self.further_kept,
            self.kept_template: self.further_kept,
        }
        return {part: count for part, count in copies.items() if part != NO_PART}

    @property
    def further_layers(self) -> int:
        """Layers (or periods of them) of the model that were not traced but repeat the template."""
        return (self.layers - self.traced_layers) // self.period

    @property
    def managed_bytes(self) -> int:
        """What a paged optimizer keeps beside the allocator, for the whole model."""
        return self.managed.at(0, 0, self.further_layers)

    def copies_at(self, micro_batch: int, sequence_length: int) -> dict[int, int]:
        """How often each repeated part, layers and tiles, comes beyond the first time at one shape."""
        return self.copies | {MIDDLE_TILE: max(0, self.further_tiles(micro_batch, sequence_length))}

    def further_tiles(self, micro_batch: int, sequence_length: int) -> int:
        """Tiles of the loss at one shape that were not traced but repeat the middle one."""
        return loss_tiles(micro_batch, sequence_length, self.liger_tiles) - TRACED_TILES if self.tiled else 0


def loss_tiles(micro_batch: int, sequence_length: int, liger_tiles: int = 0) -> int:
    """How many tiles the chunked loss cuts the tokens that have a next token into.

    `liger_tiles`: not 0 for Liger's loss, which cuts all tokens, into at most so many.
    """
    if liger_tiles:
        tokens = micro_batch * sequence_length
        return -(-tokens // liger_tile(tokens, liger_tiles))
    return -(-micro_batch * (sequence_length - 1) // TILE_TOKENS)


def liger_tile(tokens: int, most_tiles: int) -> int:
    """Tokens in a tile of Liger's loss, a power of two. Source: liger-kernel 0.8.5, ops/fused_linear_cross_entropy.py."""
    least = -(-tokens // most_tiles)
    return max(1, min(1 << (least - 1).bit_length(), tokens))


def unroll(tape: Tape, further_tiles: int = 0) -> list[Event]:
    """The events of the whole model: each template's repeated for the layers and tiles not traced.

    `further_tiles` is `tape.further_tiles(...)` of the shape; every other count is the same for all shapes.
    Raises: AdvisorError where the tape's parts do not fit together, or the tiles are beyond all cards.
    """
    if further_tiles > _MOST_TILES:
        raise AdvisorError(
            "A micro-batch of so many tokens fits no card.",
            why=f"the loss would run in {further_tiles + TRACED_TILES} tiles of {TILE_TOKENS} tokens",
            fix="use a smaller micro_batch or sequence_length",
        )
    events = list(tape.events)
    for part, count in tape.copies.items():
        events = repeated(events, part, count)
    if tape.tiled:
        events = repeated(events, MIDDLE_TILE, further_tiles)
    return events
