"""From the numbers of one trace to expressions in micro-batch and sequence length.

The traced shape is chosen so that its numbers betray where they come from: primes that divide no other
dimension of the model. A dimension that they divide is then a multiple of batch, sequence or both.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from advisor.tape.record import TILE_TOKENS, Factor, Size

_BATCH = Factor(0, 1, 0, 0, 1)
_LENGTH = Factor(0, 0, 1, 0, 1)
_SHORTER = Factor(-1, 0, 1, 0, 1)  # a sequence without its last token
_LONGER = Factor(1, 0, 1, 0, 1)  # labels with one more behind, to be shifted
_ALIGNED = Factor(0, 0, 1, 0, 32)  # the memory-efficient kernel's logsumexp; its kernel_forward.h, kAlignLSE
_WITH_NEXT = Factor(0, -1, 0, 1, 1)  # tokens that have a next token
_LAST_TILE = _WITH_NEXT._replace(tile=TILE_TOKENS)
_TOKENS = Factor(0, 0, 0, 1, 1)
_MULTIPROCESSORS = Factor(0, 0, 0, 0, 1, multiprocessors=1)


@dataclass(frozen=True, slots=True)
class LigerSymbols:
    """Numbers that a trace gives Liger in place of its own, so that they can be told from all others.

    Each is a prime that no dimension of the model has, or twice one.
    """

    most_tiles: int  # that it cuts the loss of this model into, at any shape
    tiles: int  # that it is to cut this one into
    tile: int  # tokens in each of those but the last
    last_tile: int  # tokens in the last
    multiprocessors: int  # of the card

    @property
    def values(self) -> tuple[tuple[int, Factor], ...]:
        """Each number, and what it stands for; one tile alone is all tokens."""
        whole = _TOKENS._replace(liger_tiles=self.most_tiles)
        tiles = ((self.tile, whole), (self.last_tile, whole._replace(tile=1)))
        return (*(tiles if self.tiles > 1 else ()), (self.multiprocessors, _MULTIPROCESSORS))


@dataclass(frozen=True, slots=True)
class Symbols:
    """The traced shape, and how to read a dimension under it; `exact` reads every number as it is."""

    micro_batch: int
    sequence_length: int
    exact: bool = False
    liger: LigerSymbols | None = None

    def with_liger(self, tiles: int, most_tiles: int) -> "Symbols | None":
        """These, with numbers for Liger's loss in so many tiles; None where none can be told from batch and length."""
        tokens = self.micro_batch * self.sequence_length
        prime, last = next(_two_and_one(tokens), (0, 0))
        tile = {1: tokens, 2: 2 * prime}.get(tiles, prime)
        taken = (self.micro_batch, self.sequence_length, last)
        card = next((p for p in _primes_from(tokens // 5) if p not in taken), 0)
        if not (prime and card) or self.confuse((prime, 2 * prime, last, card)):
            return None
        return replace(self, liger=LigerSymbols(most_tiles, tiles, tile, last, card))

    def size(self, shape: Iterable[int], item_bytes: int) -> Size:
        """Bytes of a dense tensor of that shape."""
        if self.exact:
            return constant_size(shape, item_bytes)
        scale = item_bytes
        factors: list[Factor] = []
        for dimension in shape:
            multiple, found = self._read(dimension)
            scale *= multiple
            factors += found
        return Size(scale, tuple(sorted(factors)))

    def storage(self, shape: Sequence[int], item_bytes: int, storage_bytes: int) -> Size:
        """Bytes of a storage that a tensor of that shape was the first to show.

        Where the storage is larger than the tensor (padded, or a view of more), its bytes are read as
        one dimension.
        """
        dense = self.size(shape, item_bytes)
        if prod(shape) * item_bytes == storage_bytes:
            return dense
        return self.size((storage_bytes // item_bytes, storage_bytes % item_bytes or 1), item_bytes)

    def confuse(self, dimensions: Iterable[int]) -> bool:
        """Whether one of the numbers, which are the model's own, would be read as the shape's."""
        return not self.exact and any(self._read(d)[1] for d in dimensions)

    def _read(self, dimension: int) -> tuple[int, list[Factor]]:
        """The dimension as a number times factors."""
        shifted = self._shifted(dimension)
        if shifted is not None:
            return 1, [shifted]
        factors: list[Factor] = []
        for value, factor in self._values:
            while value > 1 and dimension and dimension % value == 0:
                dimension //= value
                factors.append(factor)
        return dimension, factors

    @property
    def _values(self) -> tuple[tuple[int, Factor], ...]:
        shape = (self.sequence_length, _LENGTH), (self.micro_batch, _BATCH)
        return (*self.liger.values, *shape) if self.liger else shape

    def _shifted(self, dimension: int) -> Factor | None:
        if dimension == self.sequence_length - 1:
            return _SHORTER
        if dimension == self.sequence_length + 1:
            return _LONGER
        if dimension == _ALIGNED.at(self.micro_batch, self.sequence_length):
            return _ALIGNED
        with_next = self.micro_batch * (self.sequence_length - 1)
        if dimension == with_next:
            return _WITH_NEXT
        if not self.liger and with_next > TILE_TOKENS and dimension == (with_next - 1) % TILE_TOKENS + 1:
            return _LAST_TILE
        return None


def constant_size(shape: Iterable[int], item_bytes: int) -> Size:
    """Bytes of a tensor whose shape is the same for every batch and length."""
    return Size(prod(shape) * item_bytes)


_BATCHES = tuple(p for p in range(13, 200) if all(p % d for d in range(2, p)))


def candidate_shapes(longest: Callable[[int], int], *, single: bool) -> Iterator[tuple[int, int]]:
    """Shapes (micro_batch, sequence_length) of prime numbers.

    `longest` gives a batch's length, from which they go down; `single` asks for batch 1.
    """
    for batch in (1,) if single else _BATCHES:
        for length in _primes_from(longest(batch)):
            aligned = _ALIGNED.at(batch, length)
            if length != batch and aligned != _LONGER.at(batch, length):
                yield batch, length


def _two_and_one(tokens: int) -> Iterator[tuple[int, int]]:
    """Primes of which two of the first and one of the second, which is less, are so many tokens."""
    for prime in _primes_from(tokens * 2 // 5):
        last = tokens - 2 * prime
        if last > prime:
            return
        if _is_prime(last):
            yield prime, last


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _primes_from(limit: int) -> Iterator[int]:
    return (n for n in range(limit, 16, -1) if _is_prime(n))
