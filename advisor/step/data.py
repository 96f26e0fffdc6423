"""Tokens for the step: real text packed into equal blocks, or random ones of the planned shape."""

from collections.abc import Iterable, Iterator

import torch
from datasets import Dataset

IGNORED = -100  # the label that no loss counts; torch's and transformers' convention


def random_blocks(*, rows: int, sequence_length: int, vocab: int, seed: int = 0) -> Dataset:
    """Random token ids of the planned shape: [rows, sequence_length], every label counted.

    Used where only memory and time matter: bench, rehearsal and trace.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab, (rows, sequence_length), generator=generator)
    return Dataset.from_dict({"input_ids": ids.tolist()})


def packed_blocks(
    examples: Iterable[tuple[list[int], list[int]]], sequence_length: int
) -> Dataset:
    """Examples of (input_ids, labels) joined and cut into blocks of exactly `sequence_length` tokens.

    Equal blocks make every batch the planned size, and take the fast attention kernel, for nothing is
    padded. The last block is padded with ignored labels only when there is no other block.
    """
    blocks = list(_blocks(examples, sequence_length))
    return Dataset.from_dict(
        {"input_ids": [ids for ids, _ in blocks], "labels": [labels for _, labels in blocks]}
    )


def _blocks(
    examples: Iterable[tuple[list[int], list[int]]], length: int
) -> Iterator[tuple[list[int], list[int]]]:
    ids: list[int] = []
    labels: list[int] = []
    made = 0
    for example_ids, example_labels in examples:
        ids += example_ids
        labels += example_labels
        while len(ids) >= length:
            yield ids[:length], labels[:length]
            made += 1
            del ids[:length], labels[:length]
    if ids and not made:
        missing = length - len(ids)
        yield ids + ids[-1:] * missing, labels + [IGNORED] * missing
