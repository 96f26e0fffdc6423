"""Token ids packed into blocks of one length, epoch after epoch."""

import random
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

# Neighbours in the corpus are near in meaning; runs of them teach the model to look back.
RUN_DOCUMENTS = 12


def packed(documents: list[list[int]], sequence_length: int) -> Tensor:
    """The documents end to end, cut into [blocks, sequence_length]; the rest is dropped."""
    ids = [token for document in documents for token in document]
    whole = len(ids) // sequence_length * sequence_length
    return torch.tensor(ids[:whole]).view(-1, sequence_length)


def epochs(
    documents: list[list[int]], sequence_length: int, micro_batch: int, order: random.Random
) -> Iterator[Tensor]:
    """Batches of [micro_batch, sequence_length] for ever; each epoch cuts the blocks elsewhere."""
    while True:
        offset = order.randrange(RUN_DOCUMENTS)
        starts = [0, *range(offset or RUN_DOCUMENTS, len(documents), RUN_DOCUMENTS), len(documents)]
        runs = [documents[start:end] for start, end in pairwise(starts)]
        order.shuffle(runs)
        blocks = packed([document for run in runs for document in run], sequence_length)
        picks = torch.tensor(order.sample(range(len(blocks)), len(blocks)))
        for start in range(0, len(blocks) - micro_batch + 1, micro_batch):
            yield blocks[picks[start : start + micro_batch]]
