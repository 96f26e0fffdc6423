"""From the numbers of one trace to expressions in micro-batch and sequence length.

The traced shape is chosen so that its numbers betray where they come from: two primes that divide no
dimension of the model. A dimension that they divide is then a multiple of batch, sequence or tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from advisor.tape import Factor, Size


@dataclass(frozen=True, slots=True)
class Symbols:
    """The traced shape, and how to read a dimension under it."""

    micro_batch: int
    sequence_length: int
    chunk: int = 4096  # tokens in a tile of the chunked loss; `trl.kernels.chunked_logprob`

    def size(self, shape: Iterable[int], item_bytes: int) -> Size:
        """Bytes of a dense tensor of that shape."""
        scale = item_bytes
        factors: list[Factor] = []
        for dimension in shape:
            multiple, factor = self._dimension(dimension)
            scale *= multiple
            if factor is not None:
                factors.append(factor)
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

    def _dimension(self, dimension: int) -> tuple[int, Factor | None]:
        batch, length = self.micro_batch, self.sequence_length
        exact = self._exact(dimension)
        if exact is not None:
            return 1, exact
        if dimension and dimension % (batch * length) == 0 and batch > 1:
            return dimension // (batch * length), Factor(0, 0, 0, 1, 1)
        if dimension and dimension % length == 0:
            # At batch 1 a dimension of `length` may be tokens or sequence: they are the same number.
            return dimension // length, Factor(0, 0, 1, 0, 1)
        if dimension and batch > 1 and dimension % batch == 0:
            return dimension // batch, Factor(0, 1, 0, 0, 1)
        return dimension, None

    def _exact(self, dimension: int) -> Factor | None:
        batch, length = self.micro_batch, self.sequence_length
        shifted = batch * (length - 1)  # tokens that have a next token
        if dimension == length - 1:
            return Factor(-1, 0, 1, 0, 1)
        if dimension == shifted:
            return Factor(0, -1, 0, 1, 1)
        rest = shifted - dimension
        if dimension > 1 and rest > 0 and rest % self.chunk == 0:
            return Factor(-rest, -1, 0, 1, 1)
        return None


def traced_shape(dimensions: Iterable[int], *, single: bool, tokens: int) -> tuple[int, int]:
    """A (micro_batch, sequence_length) of about `tokens` tokens whose numbers are unmistakable.

    Both are primes that divide no dimension of the model; `single` asks for batch 1.
    """
    known = [d for d in dimensions if d > 1]
    batch = 1 if single else next(p for p in (13, 17, 19, 23, 29, 31) if _foreign(p, known))
    length = next(p for p in _primes_below(tokens // batch + 1) if _foreign(p, known))
    return batch, length


def _foreign(prime: int, dimensions: list[int]) -> bool:
    return all(d % prime for d in dimensions)


def _primes_below(limit: int) -> Iterable[int]:
    return (n for n in range(limit, 2, -1) if all(n % d for d in range(2, int(n**0.5) + 1)))


