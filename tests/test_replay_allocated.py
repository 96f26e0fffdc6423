"""What a tape tells without a replay: its largest block that comes and goes."""

from advisor.replay.allocated import largest_block_bytes
from advisor.replay.shape import Shape
from advisor.tape.events import NO_PART, Event, Op
from advisor.tape.record import Factor, Label, Size, Tape

PER_TOKEN = Factor(constant=0, batch=0, sequence=0, tokens=1, multiple=1)
SIZES = (Size(1 << 30), Size(1 << 34, constant="loader_warmup"), Size(4, (PER_TOKEN,)), Size(8, (PER_TOKEN,)))
WEIGHT, ACTIVATION = 0, 1


def tape(*events):
    """Sizes: a weight, the loader's warm-up, four bytes a token, eight bytes a token."""
    return Tape(
        key={},
        versions={},
        layers=1,
        traced_layers=1,
        period=1,
        template=NO_PART,
        tiled=False,
        parameters=0,
        trainable=0,
        sizes=SIZES,
        kernels=(),
        labels=(Label("parameter", "", ""), Label("activation", "", "")),
        phases=(),
        events=tuple(Event(op, slot, size, NO_PART, label) for slot, (op, size, label) in enumerate(events)),
    )


def block(made, micro_batch=2):
    """At a thousand tokens a sequence."""
    shape = Shape(micro_batch=micro_batch, sequence_length=1000, cublas_workspace_bytes=0)
    return largest_block_bytes(made, shape)


def test_neither_weights_nor_the_loaders_warm_up_come_and_go():
    """Though they are larger."""
    made = tape((Op.ALLOC, 0, WEIGHT), (Op.ALLOC, 1, ACTIVATION), (Op.ALLOC, 2, ACTIVATION))

    assert 4 * 2000 == block(made)
    assert 4 * 3000 == block(made, micro_batch=3)


def test_what_is_freed_at_once_counts():
    """It takes a block, too."""
    made = tape((Op.ALLOC, 2, ACTIVATION), (Op.TOUCH, 3, ACTIVATION))

    assert 8 * 2000 == block(made)


def test_a_tape_of_weights_alone_has_none():
    """Nothing to place otherwise."""
    assert 0 == block(tape((Op.ALLOC, 0, WEIGHT)))
