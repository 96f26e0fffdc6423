"""From the numbers of one trace to expressions in micro-batch and sequence length.

The traced shape is chosen so that its numbers betray where they come from: primes that divide no other
dimension of the model. A dimension that they divide is then a multiple of batch, sequence or both.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod

from advisor.tape.record import TILE_TOKENS, Factor, Size

_BATCH = Factor(0, 1, 0, 0, 1)
_LENGTH = Factor(0, 0, 1, 0, 1)
_SHORTER = Factor(-1, 0, 1, 0, 1)  # a sequence without its last token
_LONGER = Factor(1, 0, 1, 0, 1)  # labels with one more behind, to be shifted
_ALIGNED = Factor(0, 0, 1, 0, 32)  # the memory-efficient kernel's logsumexp; its kernel_forward.h, kAlignLSE
_WITH_NEXT = Factor(0, -1, 0, 1, 1)  # tokens that have a next token
_LAST_TILE = _WITH_NEXT._replace(tile=TILE_TOKENS)


@dataclass(frozen=True, slots=True)
class Symbols:
    """The traced shape, and how to read a dimension under it; `exact` reads every number as it is."""

    micro_batch: int
    sequence_length: int
    exact: bool = False

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

    def value(self, size: Size) -> int:
        """What a size comes to at the traced shape."""
        return size.at(self.micro_batch, self.sequence_length, 0)

    def storage(self, shape: Iterable[int], item_bytes: int, storage_bytes: int) -> Size:
        """Bytes of a storage that a tensor of that shape was the first to show.

        Where the storage is larger than the tensor (padded, or a view of more), its bytes are read as
        one dimension.
        """
        dense = self.size(shape, item_bytes)
        if self.value(dense) == storage_bytes:
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
        for value, factor in ((self.sequence_length, _LENGTH), (self.micro_batch, _BATCH)):
            while value > 1 and dimension and dimension % value == 0:
                dimension //= value
                factors.append(factor)
        return dimension, factors

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
        if with_next > TILE_TOKENS and dimension == (with_next - 1) % TILE_TOKENS + 1:
            return _LAST_TILE
        return None


def constant_size(shape: Iterable[int], item_bytes: int) -> Size:
    """Bytes of a tensor whose shape is the same for every batch and length."""
    return Size(prod(shape) * item_bytes)


def candidate_shapes(longest: Callable[[int], int], *, single: bool) -> Iterator[tuple[int, int]]:
    """Shapes (micro_batch, sequence_length) of prime numbers.

    `longest` gives a batch's length, from which they go down; `single` asks for batch 1.
    """
    for batch in (1,) if single else _BATCHES:
        for length in _primes_from(longest(batch)):
            if length != batch:
                yield batch, length


_BATCHES = tuple(p for p in range(13, 200) if all(p % d for d in range(2, p)))


def _primes_from(limit: int) -> Iterator[int]:
    return (n for n in range(limit, 16, -1) if all(n % d for d in range(2, int(n**0.5) + 1)))
