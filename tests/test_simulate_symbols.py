"""Sizes are exact expressions: a tape at some shape of its regime is a fresh trace of that shape."""

from dataclasses import replace

import pytest
from simulate_parts import facts, first_difference, lived, traced

from advisor.records import Attention, Checkpointing, Loss, Method, Precision, TrainConfig
from advisor.simulate.sizes import Symbols, candidate_shapes
from advisor.tape.record import Factor, Size, loss_tiles
from advisor.tape.regime import Regime, regime_of
from advisor.tape.target import Target

RTX_4090 = Target((8, 9), 128)
SHAPES = [(1, 100), (1, 2048), (2, 1024), (3, 517)]
# Tokens with a next token: 1 tile to the last, 2, 3 to the last, 4, and 8 with one token in the last.
TILED_SHAPES = {(1, 4097): 1, (2, 4000): 2, (3, 4097): 3, (4, 4000): 4, (1, 28674): 8}
LORA = TrainConfig(lora_targets=("q_proj", "o_proj", "down_proj"))  # of each kind of projection one
CONFIGS = {
    "lora": LORA,
    "full": TrainConfig(method=Method.FULL, attention=Attention.EAGER, accumulation_steps=2),
    "nf4": replace(LORA, precision=Precision.NF4, checkpointing=Checkpointing.NON_REENTRANT),
    "int8": replace(LORA, precision=Precision.INT8, checkpointing=Checkpointing.REENTRANT),
}
TILED_CONFIGS = {
    "lora": replace(LORA, loss=Loss.CHUNKED),
    "full": TrainConfig(loss=Loss.CHUNKED, method=Method.FULL, precision=Precision.FP32),
    "nf4": replace(LORA, loss=Loss.CHUNKED, precision=Precision.NF4, kbit_prepare=True),
}
_MODEL = facts(num_hidden_layers=2)  # too few to cut


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_tape_is_exact_at_every_shape(config):
    """Batch 1 and more, short and long, numbers that divide each other and numbers that do not."""
    _assert_exact(_MODEL, config, SHAPES)


@pytest.mark.parametrize("config", TILED_CONFIGS.values(), ids=TILED_CONFIGS)
def test_tiles_of_the_loss_repeat(config):
    """Three traced tiles stand for any number, and the last one may hold any number of tokens."""
    assert [loss_tiles(*shape) for shape in TILED_SHAPES] == list(TILED_SHAPES.values())
    _assert_exact(_MODEL, config, TILED_SHAPES)


def test_local_attention_needs_a_mask_only_where_a_sequence_reaches_the_window():
    """Up to there it is plain causal attention, which takes the flash kernel."""
    local = facts("mistral", num_hidden_layers=2, sliding_window=512)

    assert regime_of(TrainConfig(sequence_length=511), local).window == 0
    assert regime_of(TrainConfig(sequence_length=512), local).window == 512
    for config, kernel in ((replace(LORA, sequence_length=256), "flash"), (LORA, "efficient")):
        ops = {label.op for label in traced(local, config, card=RTX_4090).labels}
        assert [kernel in op for op in ops if "_scaled_dot_product" in op and "backward" not in op] == [True]
    _assert_exact(local, LORA, [(1, 512), (2, 1024)])


def test_two_traces_are_the_same():
    """Nothing depends on what ran before."""
    config = TrainConfig(precision=Precision.NF4, loss=Loss.CHUNKED)
    first = traced(_MODEL, config)
    traced(facts("qwen3", num_hidden_layers=2), TrainConfig(method=Method.FULL))

    assert traced(_MODEL, config) == first


def _assert_exact(model, config, shapes):
    tapes = {}
    for batch, length in shapes:
        shaped = replace(config, micro_batch=batch, sequence_length=length)
        regime = regime_of(shaped, model)
        if regime not in tapes:
            tapes[regime] = traced(model, shaped)
        exact = lived(traced(model, shaped, exact=True), shaped)
        assert first_difference(lived(tapes[regime], shaped), exact) is None, (batch, length)


def test_regimes_are_few():
    """From three tiles on all shapes share one; the shapes of a fused 4-bit product share none."""
    chunked = TrainConfig(loss=Loss.CHUNKED, micro_batch=2)
    tiles = [regime_of(replace(chunked, sequence_length=n)).tiles for n in (2000, 4000, 6000, 8000, 80000)]
    assert tiles == [1, 2, 3, 3, 3]

    small = TrainConfig(precision=Precision.NF4, sequence_length=1536)
    assert regime_of(small).exact == (1, 1536)
    assert regime_of(replace(small, sequence_length=1537)) == Regime(single=True)


def test_the_traced_shape_lies_in_the_regime():
    """Primes: what they divide is theirs."""
    batch, length = next(iter(candidate_shapes(Regime(single=False, tiles=3).longest, single=False)))

    assert loss_tiles(batch, length) == 3
    assert all(batch % d for d in range(2, batch))
    assert all(length % d for d in range(2, length))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((13, 229, 320), Size(640, (Factor(0, 0, 1, 0, 1), Factor(0, 1, 0, 0, 1)))),
        ((13 * 229, 320), Size(640, (Factor(0, 0, 1, 0, 1), Factor(0, 1, 0, 0, 1)))),
        ((13, 8, 229, 229), Size(16, (Factor(0, 0, 1, 0, 1), Factor(0, 0, 1, 0, 1), Factor(0, 1, 0, 0, 1)))),
        ((13, 228), Size(2, (Factor(-1, 0, 1, 0, 1), Factor(0, 1, 0, 0, 1)))),
        ((13, 230), Size(2, (Factor(0, 1, 0, 0, 1), Factor(1, 0, 1, 0, 1)))),
        ((13 * 228, 64), Size(128, (Factor(0, -1, 0, 1, 1),))),
        ((320, 704), Size(2 * 320 * 704)),
        ((13, 256), Size(2, (Factor(0, 0, 1, 0, 32), Factor(0, 1, 0, 0, 1)))),
        ((), Size(2)),
    ],
)
def test_a_dimension_says_where_it_comes_from(shape, expected):
    """Under a batch of 13 and 229 tokens."""
    size = Symbols(13, 229).size(shape, 2)

    assert (size.scale, sorted(size.factors)) == (expected.scale, sorted(expected.factors))


def test_the_last_tile_holds_the_rest():
    """From one token to a whole tile."""
    rest = Factor(0, -1, 0, 1, 1, 4096)

    assert [rest.at(1, n + 1) for n in (1, 4096, 4097, 8192, 8193)] == [1, 4096, 1, 4096, 1]


@pytest.mark.parametrize("model_type", ["falcon_h1", "qwen3_next"])
def test_convolutions_over_the_sequence_have_no_symbols(model_type):
    """They are padded: read as factors of batch and length, their sizes would be wrong by half at another shape."""
    sizes = {
        "mamba_d_ssm": 256,
        "mamba_n_heads": 8,
        "mamba_d_head": 32,
        "mamba_n_groups": 1,
        "mamba_d_conv": 4,
    }
    sizes = sizes if model_type == "falcon_h1" else {"linear_conv_kernel_dim": 4}
    model = facts(model_type, **sizes)
    shapes = [TrainConfig(micro_batch=2, sequence_length=length) for length in (512, 1024)]

    assert [regime_of(config, model).exact for config in shapes] == [(2, 512), (2, 1024)]
    assert regime_of(shapes[0], facts()).exact == (0, 0)
