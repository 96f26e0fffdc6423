"""A real allocator history beside the simulated run of the same config."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.replay.shape import Shape
from advisor.tape.store import TapeStore
from bench.events.align import aligned
from bench.events.causes import UNKNOWN, cause
from bench.events.compare import EXTRA, MISSING, ORDER, compare
from bench.events.history import ALLOC, FREE, SEGMENT, Happening, kept_folder, kept_histories, packed
from bench.events.keep import Taken, keep
from bench.events.report import SCHEMA, entry, markdown
from bench.events.simulated import Asked, Run, simulated_run

KEPT = {kept.path.name: kept for kept in kept_histories(kept_folder())}
LLAMA_8B = KEPT["h100-llama-3.1-8b-nf4.json.xz"]


@pytest.fixture(scope="module")
def run(kept_tapes):
    """The simulated run of the 8B QLoRA step, traced now."""
    store = TapeStore(shipped_folder=kept_tapes / "none")
    try:
        return simulated_run(LLAMA_8B.row, LLAMA_8B.card, LLAMA_8B.steps, store)
    finally:
        store.close()


@pytest.fixture(scope="module")
def compared(run):
    return compare(LLAMA_8B.happenings, run)


def test_an_8b_qlora_step_asks_for_what_the_real_one_asked_for(compared):
    """From loading to the end of the second step, and within that step alone, in order and size."""
    assert 54_000 < compared.run.real_count
    assert 0.999 < compared.run.share < 1
    assert 22_000 < compared.step.real_count
    assert 0.999 < compared.step.share < 1


def test_the_rest_is_listed_with_its_cause(compared):
    """Every byte that does not agree is in the list, and every entry of this run has a cause."""
    listed = sum(each.size_bytes for each in compared.differences if each.where != EXTRA)
    extra = sum(each.size_bytes for each in compared.differences if each.where != MISSING)

    assert compared.run.real_bytes - compared.run.agreeing_bytes == listed
    assert compared.run.simulated_bytes - compared.run.agreeing_bytes == extra
    assert UNKNOWN not in {cause(each, "nf4") for each in compared.differences}


def test_where_the_driver_acts_is_where_the_list_says(compared):
    """`histories.toml` holds what the alignment finds."""
    assert LLAMA_8B.moments == compared.moments


def test_the_report_says_what_was_reserved(compared, run):
    """Recorded, the same requests replayed, and simulated: the same to the byte."""
    made = entry(LLAMA_8B, compared, run)
    text = markdown({"schema": SCHEMA, "histories": [made]})

    assert {7_851_737_088} == set(made["reserved_bytes"].values())
    assert "| 99.9828% | 99.9817% | 7,488 MiB | 7,488 MiB | 7,488 MiB |" in text


def test_a_history_is_kept_cut_and_listed(compared, run, tmp_path, kept_tapes):
    """What `bench.history` writes goes on after the last step that counts."""
    more = [*LLAMA_8B.happenings, Happening(ALLOC, 77_777, 1 << 40)]
    source = tmp_path / "longer.json.xz"
    source.write_bytes(packed(more))
    store = TapeStore(shipped_folder=kept_tapes / "none")

    keep(Taken(path=source, card=LLAMA_8B.card, row=LLAMA_8B.row, name="cut", steps=2), tmp_path, store)

    (kept,) = kept_histories(tmp_path)
    assert LLAMA_8B.happenings == kept.happenings
    assert LLAMA_8B.moments == kept.moments
    assert store.traced == 0


def small_run(*asked):
    return Run(tuple(Asked(kind, size, op, 1, "forward") for kind, size, op in asked), (), shape(), 0)


def shape():
    return Shape(micro_batch=1, sequence_length=8, cublas_workspace_bytes=0)


def real(*happenings):
    return [Happening(kind, size, 0) for kind, size in happenings]


def test_differences_are_told_apart():
    """One thing only the card did, one only the simulation, one both at other places; segments don't count."""
    found = compare(
        real((SEGMENT, 999), (ALLOC, 8), (ALLOC, 3), (ALLOC, 16), (FREE, 16), (ALLOC, 5), (FREE, 8)),
        small_run(
            (ALLOC, 5, "e"),
            (ALLOC, 8, "a"),
            (ALLOC, 16, "b"),
            (FREE, 16, "b"),
            (FREE, 8, "a"),
            (ALLOC, 7, "c"),
        ),
    )

    assert {(MISSING, "a", 3), (EXTRA, "c", 7), (ORDER, "e", 5)} == {
        (each.where, each.op, each.size_bytes) for each in found.differences
    }
    assert 48 == found.run.agreeing_bytes
    assert 48 / 60 == found.run.share


sequences = st.lists(st.integers(0, 3), max_size=24)


@given(sequences, sequences)
def test_the_alignment_is_a_longest_common_subsequence(left, right):
    lengths = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if a == b else max(lengths[i][j + 1], lengths[i + 1][j])

    pairs = aligned(left, right)

    assert all(left[x] == right[y] for x, y in pairs)
    assert sorted(set(pairs)) == pairs
    assert len({x for x, _ in pairs}) == len({y for _, y in pairs}) == lengths[-1][-1]


def test_windows_follow_each_other():
    """Sequences longer than a window, with something inserted in each of them."""
    left = list(range(9_000))
    right = left[:2_500] + [-1] * 300 + left[2_500:7_000] + left[7_050:]

    pairs = aligned(left, right)

    assert 9_000 - 50 == len(pairs)


def test_the_driver_acts_at_the_first_kernel_not_at_copies(run):
    """NF4 computes while it loads; the first product comes in the forward pass."""
    assert [
        "first quantised weight",
        "first kernel",
        "first forward",
        "first product",
        "first attention",
    ] == [moment for _, moment in run.moments[:5]]
    phases = {moment: run.asked[index].phase for index, moment in run.moments}
    assert "load" == phases["first kernel"]
    assert "forward" == phases["first product"]
    assert "backward" == phases["first product of backward"]
