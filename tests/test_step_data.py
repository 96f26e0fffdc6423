"""Blocks of exactly the planned length, in whole batches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.step.data import IGNORED, arranged, packed_blocks, random_blocks

EXAMPLES = st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=20), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(EXAMPLES, st.integers(2, 9))
def test_every_block_has_the_length_and_no_token_is_lost(examples, length):
    """The blocks are the joined text; what fills no block is counted."""
    joined = [token for ids in examples for token in ids]
    packed = packed_blocks([(ids, ids) for ids in examples], length)
    blocks = packed.blocks["input_ids"]

    assert len(packed.blocks) == max(1, len(joined) // length)
    assert all(len(ids) == length for ids in blocks)
    assert len(joined) == packed.tokens
    assert len(joined) + packed.padded_tokens == len(packed.blocks) * length + packed.left_out_tokens
    assert joined[: length * len(packed.blocks)] == [token for ids in blocks for token in ids][: len(joined)]
    assert max(joined[: max(len(joined) - packed.left_out_tokens, 1)]) == packed.largest_token


def test_a_short_text_is_padded_once_and_the_padding_does_not_count():
    """Only where there is no other block."""
    packed = packed_blocks([([5, 6, 7], [5, 6, 7])], 5)

    assert packed.blocks["input_ids"][:] == [[5, 6, 7, 7, 7]]
    assert packed.blocks["labels"][:] == [[5, 6, 7, IGNORED, IGNORED]]
    assert (packed.padded_tokens, packed.left_out_tokens) == (2, 0)


def test_a_block_without_a_counted_label_is_left_out():
    """Its loss would be nothing divided by nothing; a label on the first token answers no token."""
    prompt, answer = ([1, 2, 3], [IGNORED] * 3), ([4, 5, 6], [4, IGNORED, IGNORED])
    packed = packed_blocks([prompt, answer, ([7, 8, 9], [IGNORED, 8, 9])], 3)

    assert packed.blocks["input_ids"][:] == [[7, 8, 9]]
    assert packed.unlabelled_blocks == 2


def test_nothing_packs_to_nothing():
    """The caller decides what to say."""
    assert len(packed_blocks([], 4).blocks) == 0


@pytest.mark.parametrize("rows", [4, 7, 12, 25])
def test_passes_are_whole_shuffled_and_joined(rows):
    """Each pass shows every block once; the last is cut where the rows end; the order is the seed's."""
    blocks = packed_blocks([(list(range(12)), list(range(12)))], 2).blocks
    order = [tuple(ids) for ids in arranged(blocks, rows, seed=3)["input_ids"]]
    passes = [order[start : start + 6] for start in range(0, rows, 6)]

    assert rows == len(order)
    assert all(len(set(one)) == len(one) for one in passes)
    assert order == [tuple(ids) for ids in arranged(blocks, rows, seed=3)["input_ids"]]
    if rows > 6:
        assert passes[0] != passes[1]


def test_random_blocks_are_of_the_shape_and_the_seed():
    """Bench and trace see the same numbers each time."""
    data = random_blocks(rows=3, sequence_length=5, vocab=7)

    assert (len(data), len(data[0]["input_ids"])) == (3, 5)
    assert data["input_ids"][:] == random_blocks(rows=3, sequence_length=5, vocab=7)["input_ids"][:]
    assert all(0 <= token < 7 for ids in data["input_ids"] for token in ids)
