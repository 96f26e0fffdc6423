"""What the lengths of examples mean for training: how they spread, what padding wastes, what a length cuts."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil
from random import Random

# transformers 5.23 trainer_pt_utils.py, get_length_grouped_indices: "50 or the number to get 4 megabatches".
_MOST_BATCHES_SORTED, _LEAST_MEGABATCHES = 50, 4
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Lengths in a few numbers, in tokens."""

    examples: int
    tokens: int
    shortest: int
    median: int
    mean: float
    p90: int
    p95: int
    p99: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Examples longer than `above` and at most `upto` tokens."""

    above: int
    upto: int
    examples: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """What one micro-batch asks where each example is padded to the longest of its batch."""

    micro_batch: int
    longest_batch_tokens: int  # the batch that holds the longest example, padded: some batch does
    random_waste: float  # share of all places that are padding, batches drawn at random: the expectation
    grouped_waste: float  # the same with group_by_length, one pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What one max_seq_length does to the data."""

    sequence_length: int
    cut_examples: int
    cut_tokens: int
    blocks: int  # full ones, where examples are packed end to end
    split_examples: int  # packed, those that lie in more than one block
    padded_tokens: int  # places where every example has a row of this length to itself


def spread(lengths: Sequence[int]) -> Spread:
    """The lengths in a few numbers; each percentile is the length of an example (nearest rank)."""
    ordered = sorted(lengths)
    count = len(ordered)

    def rank(share: float) -> int:
        return ordered[max(0, ceil(share * count) - 1)]

    return Spread(
        examples=count,
        tokens=sum(ordered),
        shortest=ordered[0],
        median=rank(0.5),
        mean=sum(ordered) / count,
        p90=rank(0.9),
        p95=rank(0.95),
        p99=rank(0.99),
        longest=ordered[-1],
    )


def histogram(lengths: Sequence[int]) -> tuple[Bar, ...]:
    """Bars between powers of two and half as much again (64, 96, 128, 192 …): a long tail stays in sight."""
    edges = [0, *(edge for n in range(3, 25) for edge in (1 << n, 3 << (n - 1)))]
    ordered, bars = sorted(lengths), []
    for above, upto in pairwise(edges):
        inside = ordered[bisect_right(ordered, above) : bisect_right(ordered, upto)]
        bars.append(Bar(above=above, upto=upto, examples=len(inside), tokens=sum(inside)))
    filled = [place for place, bar in enumerate(bars) if bar.examples]
    return tuple(bars[filled[0] : filled[-1] + 1])


def padding(lengths: Sequence[int], micro_batch: int) -> Padding:
    """What padding wastes at one micro-batch."""
    mean = sum(lengths) / len(lengths)
    return Padding(
        micro_batch=micro_batch,
        longest_batch_tokens=micro_batch * max(lengths),
        random_waste=1 - mean / expected_longest(lengths, micro_batch),
        grouped_waste=_waste(lengths, grouped(lengths, micro_batch), micro_batch),
    )


def expected_longest(lengths: Sequence[int], drawn: int) -> float:
    """The mean of the longest of so many drawn without replacement: no sampling, an order statistic."""
    ordered = sorted(lengths, reverse=True)
    drawn = min(drawn, len(ordered))
    chance, left, total = 1.0, 1.0, 0.0
    for place, length in enumerate(ordered[: len(ordered) - drawn + 1]):
        # The longest is this one where it is drawn and none before it was.
        chance = drawn / (len(ordered) - place)
        total += left * chance * length
        left *= 1 - chance
    return total


def grouped(lengths: Sequence[int], micro_batch: int) -> list[int]:
    """The lengths in the order of transformers' LengthGroupedSampler, one pass."""
    shuffled = list(lengths)
    Random(_SEED).shuffle(shuffled)  # noqa: S311 - an order of batches, not a secret
    batches = min(len(lengths) // (micro_batch * _LEAST_MEGABATCHES), _MOST_BATCHES_SORTED) or 1
    return [one for part in _batches(shuffled, batches * micro_batch) for one in sorted(part, reverse=True)]


def _waste(lengths: Sequence[int], order: Sequence[int], micro_batch: int) -> float:
    places = sum(max(batch) * len(batch) for batch in _batches(order, micro_batch))
    return 1 - sum(lengths) / places


def cut(lengths: Sequence[int], sequence_length: int) -> Cut:
    """What that length does to the examples, cut or packed."""
    longer = [length for length in lengths if length > sequence_length]
    ends = list(accumulate(lengths))
    split = sum(
        (end - length) // sequence_length != (end - 1) // sequence_length
        for length, end in zip(lengths, ends, strict=True)
    )
    return Cut(
        sequence_length=sequence_length,
        cut_examples=len(longer),
        cut_tokens=sum(longer) - len(longer) * sequence_length,
        blocks=ends[-1] // sequence_length,
        split_examples=split,
        padded_tokens=len(lengths) * sequence_length,
    )


def _batches(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (values[start : start + size] for start in range(0, len(values), size))
