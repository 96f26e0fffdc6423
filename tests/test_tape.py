"""Unrolling repeats one part exactly, and a tape's file gives back the tape or a clear refusal."""

import json
import lzma
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.errors import AdvisorError, ExitCode
from advisor.replay.brief import brief
from advisor.tape.events import NO_PART, Event, Op, lives_are_whole, repeated
from advisor.tape.file import MAGIC, SCHEMA, load_tape, save_tape, tape_from_bytes, tape_to_bytes
from advisor.tape.packed import pack, unpack
from advisor.tape.record import TILES, Factor, Kernel, Label, Size, Tape, unroll

A, F, K = Op.ALLOC, Op.FREE, Op.KERNEL


def _events(*rows):
    return tuple(Event(op, a, 0, part, 0) for op, a, part in rows)


def _tape(events=(), **changes):
    tape = Tape(
        key={"family": "sm80", "exact": [0, 0]},
        versions={"torch": "2.13.0"},
        layers=4,
        traced_layers=4,
        period=1,
        template=NO_PART,
        tiled=False,
        parameters=10,
        trainable=2,
        sizes=(Size(4), Size(2, (Factor(0, 1, 0, 0, 1), Factor(0, 0, 1, 0, 128)), 3, "cublas_workspace")),
        kernels=(Kernel("matmul", (Size(2),), (Size(4), Size(8))),),
        labels=(Label("activation", "model.layers.*.mlp", "aten::mm"),),
        phases=("load", "forward"),
        events=events,
    )
    return replace(tape, **changes)


# Repeating.


def test_a_forward_sweep_hands_on():
    """Each layer makes its output and drops its input: so do the copies."""
    sweep = _events(*[row for layer in range(4) for row in _layer(layer)], (F, 3, NO_PART))
    ages, alive = _ages(repeated(sweep, template=2, copies=3))

    # Seven layers: each drops what the layer before it made.
    assert ages == [("alloc", 0)] + [x for n in range(1, 7) for x in (("alloc", n), ("free", n - 1))] + [
        ("free", 6)
    ]
    assert alive == 0


def _layer(layer):
    return [(A, layer, layer)] if layer == 0 else [(A, layer, layer), (F, layer - 1, layer)]


def test_a_backward_sweep_comes_in_reverse():
    """What four layers kept, the copies of the third among them, goes from the last to the first."""
    forward = [(A, layer, layer) for layer in range(4)]
    backward = [(F, layer, layer) for layer in reversed(range(4))]
    ages, _ = _ages(repeated(_events(*forward, *backward), template=2, copies=2))

    assert [age for what, age in ages if what == "free"] == [5, 4, 3, 2, 1, 0]


def test_what_dies_later_dies_in_every_copy():
    """A list of all layers' buffers, dropped outside of them."""
    rows = [(A, layer, layer) for layer in range(4)] + [(F, layer, NO_PART) for layer in range(4)]
    ages, alive = _ages(repeated(_events(*rows), template=2, copies=2))

    assert alive == 0
    assert len(ages) == 12


def test_neighbours_that_differ_are_refused():
    """The layer before the template makes two buffers: nobody knows which one a copy hands on."""
    rows = [(A, 0, 1), (A, 1, 1), (A, 2, 2), (F, 1, 2)]

    with pytest.raises(AdvisorError, match="can't be repeated"):
        repeated(_events(*rows), template=2, copies=1)


def test_a_brief_tape_hands_on_what_the_whole_one_does():
    """A buffer that dies at once in one layer and a little later in the next is still the same buffer."""
    rows = [(A, 9, NO_PART)]
    for layer in range(4):
        scratch, out = 2 * layer, 2 * layer + 1
        late = layer == 3  # here the scratch outlives the next allocation
        rows += [(A, scratch, layer), *([] if late else [(F, scratch, layer)]), (A, out, layer)]
        rows += [(F, scratch, layer)] if late else []
        rows += [(F, out - 2, layer)] if layer else []
    whole = _tape(_events(*rows), layers=7, template=2)

    assert lives_are_whole(unroll(whole))
    assert lives_are_whole(unroll(brief(whole)))


def test_lives_that_are_not_whole_are_seen():
    """A free of nothing, a slot made twice."""
    assert lives_are_whole(_events((A, 0, 1), (F, 0, 1), (A, 0, 1)))
    assert not lives_are_whole(_events((A, 0, 1), (F, 1, 1)))
    assert not lives_are_whole(_events((A, 0, 1), (A, 0, 1)))


def test_tiles_repeat_beside_layers():
    """The loss's middle tile, for shapes that have more than three."""
    events = _events((K, 0, TILES), (K, 0, TILES + 1), (K, 0, TILES + 2))
    tape = _tape(events, tiled=True)

    assert tape.further_tiles(2, 4097) == -1
    assert len(unroll(tape, tape.further_tiles(5, 4097))) == 5
    with pytest.raises(AdvisorError, match="fits no card"):
        unroll(tape, tape.further_tiles(1 << 20, 1 << 20))


def test_ligers_tiles_are_of_a_size_of_their_own():
    """Powers of two that hold all tokens, those without a next one, too."""
    tape = _tape(tiled=True, liger_tiles=20)

    assert [tape.further_tiles(1, length) + 3 for length in (2048, 2049, 1551)] == [16, 17, 13]
    assert [tape.further_tiles(4, 21) + 3, tape.further_tiles(1, 1) + 3] == [11, 1]


def _ages(events):
    ages, alive, happened = {}, 0, []
    for event in events:
        if event.op == A:
            ages[event.a] = len(ages)
        alive += 1 if event.op == A else -1
        happened.append(("alloc" if event.op == A else "free", ages[event.a]))
    return happened, alive


# The file.


@st.composite
def _tapes(draw):
    whole = st.integers(0, 1 << 40)
    parts = st.integers(NO_PART, 6)
    events, alive, slots = [], [], 0
    for op in draw(st.lists(st.sampled_from(list(Op)), max_size=60)):
        if op == A:
            events.append(Event(op, slots, draw(st.integers(0, 1)), draw(parts), 0))
            alive.append(slots)
            slots += 1
        elif op == F and alive:
            slot = alive.pop(draw(st.integers(0, len(alive) - 1)))
            events.append(Event(op, slot, 0, draw(parts), 0))
        elif op == Op.PHASE:
            events.append(Event(op, draw(st.integers(0, 1)), 0, NO_PART, 0))
        elif op == K:
            events.append(Event(op, 0, 0, draw(parts), 0))
    few = st.integers(0, 4096)
    factor = st.builds(Factor, whole, whole, whole, whole, st.integers(1, 512), few, few, few)
    sizes = st.builds(Size, whole, st.lists(factor, max_size=3).map(tuple), whole, st.text(max_size=5))
    return _tape(
        tuple(events),
        liger_tiles=draw(st.integers(0, 99)),
        managed=Size(draw(whole), per_layer=draw(whole)),
        sizes=tuple(draw(st.lists(sizes, min_size=2, max_size=4))),
        key=draw(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)),
        tiled=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(_tapes())
def test_a_tape_comes_back_from_its_bytes(tape):
    """Every field, and the same bytes again."""
    data = tape_to_bytes(tape)

    assert tape_from_bytes(data) == tape
    assert tape_to_bytes(tape_from_bytes(data)) == data


def test_a_saved_tape_is_loaded(tmp_path):
    """Written beside its place first, so nothing else is left there."""
    path = tmp_path / "deep" / "a.tape"
    tape = _tape(_events((A, 0, 1), (F, 0, 2)))
    save_tape(tape, path)

    assert load_tape(path) == tape
    assert [p.name for p in path.parent.iterdir()] == ["a.tape"]


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    """At every length: never half a tape, never a traceback."""
    data = tape_to_bytes(_tape(_events((A, 0, 1), (F, 0, 2))))
    for length in range(len(data)):
        _assert_refused(tmp_path, data[:length])


def test_a_file_with_a_changed_byte_is_refused(tmp_path):
    """The checksum sees what the format does not."""
    data = tape_to_bytes(_tape(_events((A, 0, 1), (F, 0, 2))))
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x40
        _assert_refused(tmp_path, bytes(changed))


def test_a_newer_schema_asks_for_an_upgrade(tmp_path):
    """And an older one for a new trace."""
    data = bytearray(tape_to_bytes(_tape()))
    data[len(MAGIC)] = SCHEMA + 1
    assert "upgrade" in _assert_refused(tmp_path, bytes(data)).fix
    data[len(MAGIC)] = SCHEMA - 1
    assert "delete it" in _assert_refused(tmp_path, bytes(data)).fix


def test_a_file_that_unpacks_without_end_is_refused(tmp_path):
    """A few kilobytes that stand for gigabytes, or ask for them as a dictionary."""
    bomb = MAGIC + bytes([SCHEMA]) + lzma.compress(bytes(64 << 20))
    assert "larger" in _assert_refused(tmp_path, bomb).why
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20}]
    _assert_refused(tmp_path, MAGIC + bytes([SCHEMA]) + lzma.compress(b"x" * 9, filters=greedy))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", 3),
        ("layers", 1 << 20),
        ("layers", True),
        ("layers", "4"),
        ("layers", 10**400),
        ("period", 0),
        ("template", -7),
        ("tiled", 1),
        ("key", []),
        ("versions", {"torch": 2}),
        ("sizes", [[4, [], 0]]),
        ("sizes", [[4, [[0, 1, 0, 0, 0, 0]], 0, ""], [1, [], 0, ""]]),
        ("sizes", []),
        ("kernels", [["matmul", []]]),
        ("kernels", []),
        ("labels", [["a", "b"]]),
        ("labels", []),
        ("phases", [1, 2]),
        ("events", [[0], [0], [0]]),
        ("events", [[9], [0], [0], [0]]),
        ("events", [[1], [0], [0], [0]]),
        ("events", [[0], [5], [0], [0]]),
        ("events", [[0], [-1], [0], [0]]),
        ("events", [[0], [0], [1 << 20], [0]]),
        ("events", [[0], [0], [0], [1]]),
        ("events", [[3], [0], [0], [7]]),
        ("events", []),
    ],
)
def test_a_header_with_a_wrong_value_is_refused(tmp_path, field, value):
    """Every number that points somewhere must point into its table."""
    header, numbers = unpack(MAGIC, SCHEMA, tape_to_bytes(_tape(_events((A, 0, 1), (K, 0, 2)))))
    _assert_refused(tmp_path, pack(MAGIC, SCHEMA, {**header, field: value}, numbers))
    _assert_refused(tmp_path, pack(MAGIC, SCHEMA, {k: v for k, v in header.items() if k != field}, numbers))


def test_numbers_that_point_nowhere_are_refused(tmp_path):
    """A number beyond the table of events, a free with nothing alive, an endless repeat."""
    header, _ = unpack(MAGIC, SCHEMA, tape_to_bytes(_tape(_events((A, 0, 2), (F, 0, 2)))))
    _assert_refused(tmp_path, pack(MAGIC, SCHEMA, header, [7]))
    _assert_refused(tmp_path, pack(MAGIC, SCHEMA, header, [1]))
    endless = {**header, "template": 2, "layers": 1024}
    _assert_refused(tmp_path, pack(MAGIC, SCHEMA, endless, [0, 1] * 50000))
    _assert_refused(tmp_path, MAGIC + bytes([SCHEMA]) + lzma.compress(b"\xff\xff\xff\xff{}"))
    _assert_refused(tmp_path, MAGIC + bytes([SCHEMA]) + lzma.compress((2).to_bytes(4, "little") + b"[]"))


def test_a_missing_file_is_refused(tmp_path):
    """As any file that can't be read."""
    with pytest.raises(AdvisorError):
        load_tape(tmp_path / "no.tape")
    with pytest.raises(AdvisorError):
        load_tape(tmp_path)


def test_a_tape_that_repeats_is_small():
    """Two steps of two like micro-batches take little more than one."""
    layer = [(A, 0), (K, 0), (A, 0), (F, 0), (F, 0)]
    step, slots = [], 0
    for part in range(40):
        step += [(op, part % 4) for op, _ in layer]
    events, alive = [], []
    for op, part in step * 20:
        if op == A:
            events.append((A, slots, part))
            alive.append(slots)
            slots += 1
        else:
            events.append((op, alive.pop() if op == F else 0, part))
    once, often = (len(tape_to_bytes(_tape(_events(*e)))) for e in (events[: len(step)], events))

    assert len(events) == 20 * len(step)
    assert often < once + 64


def _assert_refused(tmp_path, data):
    path = tmp_path / "bad.tape"
    path.write_bytes(data)
    with pytest.raises(AdvisorError, match=re.escape(str(path))) as caught:
        load_tape(path)
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    assert caught.value.why
    return caught.value


def test_a_header_is_plain_json():
    """So that a tape can be read by anyone with an XZ tool."""
    content = lzma.decompress(tape_to_bytes(_tape())[len(MAGIC) + 1 :])
    length = int.from_bytes(content[:4], "little")

    assert json.loads(content[4 : 4 + length])["layers"] == 4
