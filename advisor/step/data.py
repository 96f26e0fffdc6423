"""Tokens for the step: real text packed into equal blocks, or random ones of the planned shape."""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset

from advisor.step.labels import IGNORED


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Text as blocks of one length, and what of it is not in them."""

    blocks: Dataset  # input_ids and labels, each exactly `sequence_length` long
    tokens: int  # tokens read
    padded_tokens: int  # added, with ignored labels, where the text did not fill one block
    left_out_tokens: int  # too few at the end for another block
    uncounted_tokens: int  # in the blocks, such as those of prompts: the loss skips them
    unlabelled_blocks: int  # left out, for no label in them counts
    largest_token: int  # 0 where there is none
    digest: str  # of every token and label, in order


def random_blocks(*, rows: int, sequence_length: int, vocab: int, seed: int = 0) -> Dataset:
    """Random token ids of the planned shape: [rows, sequence_length], every label counted.

    Used where only memory and time matter: bench, rehearsal and trace.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab, (rows, sequence_length), generator=generator)
    return Dataset.from_dict({"input_ids": ids.tolist()})


def packed_blocks(examples: Iterable[tuple[list[int], list[int]]], sequence_length: int) -> Packed:
    """Examples of (input_ids, labels) joined and cut into blocks of exactly `sequence_length` tokens.

    Equal blocks make every batch the planned size, and take the fast attention kernel, for nothing is
    padded. Only where there is no other block the last one is padded, with ignored labels.
    """
    ids, labels = array("i"), array("i")
    for example_ids, example_labels in examples:
        ids.extend(example_ids)
        labels.extend(example_labels)
    tokens = len(ids)
    padded = sequence_length - tokens if 0 < tokens < sequence_length else 0
    ids.extend(ids[-1:] * padded)
    labels.extend(array("i", [IGNORED]) * padded)
    id_rows, label_rows = (_rows(values, sequence_length) for values in (ids, labels))
    # The first label of a block is the answer to nothing: no token of the block stands before it.
    counted = (label_rows[:, 1:] != IGNORED).any(axis=1)
    return Packed(
        blocks=Dataset.from_dict({"input_ids": id_rows[counted], "labels": label_rows[counted]}),
        tokens=tokens,
        padded_tokens=padded,
        left_out_tokens=tokens + padded - id_rows.size,
        uncounted_tokens=int((label_rows[counted] == IGNORED).sum()),
        unlabelled_blocks=int((~counted).sum()),
        largest_token=int(id_rows.max(initial=0)),
        digest=hashlib.sha256(id_rows.tobytes() + label_rows.tobytes()).hexdigest(),
    )


def arranged(blocks: Dataset, rows: int, *, seed: int) -> Dataset:
    """`rows` blocks in the order of training: pass after pass over all of them, each shuffled anew.

    The passes are joined, so that a batch may end one and begin the next: no batch is ever smaller, and
    no block is left out of a pass.
    """
    generator = np.random.default_rng(seed)
    passes = -(-rows // len(blocks))
    order = np.concatenate([generator.permutation(len(blocks)) for _ in range(passes)])
    return blocks.select(order[:rows])


def _rows(values: "array[int]", length: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    whole = len(values) // length * length
    return np.array(values[:whole], dtype=np.int32).reshape(-1, length)
