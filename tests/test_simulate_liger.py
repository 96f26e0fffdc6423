"""Tapes with Liger's kernels are exact at every shape of their regime and on every card of their family.

Compared is each event with a trace of the very shape and card, in which Liger reckons for itself.
"""

from dataclasses import replace

import pytest
import torch
from simulate_parts import H200, facts, first_difference, lived, traced

from advisor.errors import AdvisorError
from advisor.records import Autocast, Checkpointing, Loop, Loss, Method, Precision, TrainConfig
from advisor.simulate.sizes import Symbols
from advisor.tape import regime
from advisor.tape.record import Factor, liger_tile, loss_tiles
from advisor.tape.regime import Regime, liger_model_types, regime_of
from advisor.tape.target import Target

H100_PCIE, RTX_4090, A100, T4, TITAN = (
    Target((9, 0), 114),
    Target((8, 9), 128),
    Target((8, 0), 108),
    Target((7, 5), 40),
    Target((7, 5), 72),
)
# Tiles of 5003 words and a width of 256: all whole; the last of 80 tokens, 15, 1 and 4.
SHAPES = {(2, 1024): 16, (1, 2000): 16, (3, 517): 13, (1, 97): 13, (4, 21): 11}
_TWO = {"num_hidden_layers": 2}  # too few to cut
_FULL = TrainConfig(method=Method.FULL, loss=Loss.LIGER)
_LORA = TrainConfig(lora_targets=("q_proj", "o_proj", "down_proj"), loss=Loss.LIGER)
CONFIGS = {
    "lora": _LORA,
    "full": replace(_FULL, accumulation_steps=2),
    "fp32": replace(_FULL, precision=Precision.FP32),
    "bare": replace(_FULL, autocast=Autocast.NONE, loop=Loop.BARE),
    "nf4": replace(_LORA, precision=Precision.NF4, checkpointing=Checkpointing.NON_REENTRANT),
    "int8": replace(_LORA, precision=Precision.INT8, checkpointing=Checkpointing.REENTRANT),
}
_HOPPER, _OLDER = (H200, H100_PCIE), (A100, RTX_4090)
ASKED = [(name, _OLDER) for name in CONFIGS] + [(name, _HOPPER) for name in ("lora", "full")]
_PATTERNS = {"sliding_window": 512, "head_dim": 32, "pad_token_id": 0}


def _assert_exact(model, config, shapes, made_for, asked_on):
    """Tapes made for one card, asked on another of the family."""
    assert made_for.family == asked_on.family
    assert made_for.multiprocessors != asked_on.multiprocessors
    tapes = {}
    for batch, length in shapes:
        shaped = replace(config, micro_batch=batch, sequence_length=length)
        known = regime_of(shaped, model)
        if known not in tapes:
            tapes[known] = traced(model, shaped, card=asked_on if known.exact[0] else made_for)
        itself = lived(traced(model, shaped, exact=True, card=asked_on), shaped, asked_on)
        found = lived(tapes[known], shaped, asked_on)
        assert first_difference(found, itself) is None, (batch, length)
    return tapes


@pytest.mark.parametrize(("name", "cards"), ASKED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_tape_is_exact_at_every_shape_and_on_every_card(name, cards):
    """Batch 1 and more; whole tiles and a last one of a single token."""
    most = -(-facts()["vocab_size"] // facts()["hidden_size"])
    assert {shape: loss_tiles(*shape, most) for shape in SHAPES} == SHAPES
    tapes = _assert_exact(facts(**_TWO), CONFIGS[name], SHAPES, *cards)

    assert len([known for known in tapes if not known.exact[0]]) == 2


@pytest.mark.parametrize("model_type", liger_model_types())
def test_every_architecture_in_the_table_is_exact(model_type):
    """With local attention where it has some."""
    model = facts(model_type, **_TWO, **_PATTERNS)
    _assert_exact(model, _FULL, [(1, 2000), (2, 1024)], A100, RTX_4090)


def test_nothing_of_liger_is_left_behind():
    """For some architectures it replaces torch's own cross-entropy: the next trace of the process must not have it."""
    before = torch.nn.functional.cross_entropy
    traced(facts("granite", **_TWO), replace(_FULL, micro_batch=2, sequence_length=512))

    assert torch.nn.functional.cross_entropy is before


@pytest.mark.parametrize(("vocab", "tiles"), [(200, {1}), (500, {2}), (700, {2, 3})])
def test_few_tiles_are_regimes_of_their_own(vocab, tiles):
    """One tile, two, and three or more: a small vocabulary leads to each of them."""
    model = facts(vocab_size=vocab, **_TWO)
    tapes = _assert_exact(model, _FULL, [(1, 1999), (2, 513), (3, 517)], *_HOPPER)

    assert {known.tiles for known in tapes} == tiles


def test_cards_without_bf16_are_a_family_too():
    """Below sm80 Liger adds up the gradient of the last layer elsewhere."""
    config = replace(_FULL, precision=Precision.FP32, autocast=Autocast.FP16)
    _assert_exact(facts(**_TWO), config, [(1, 2048), (2, 1024)], T4, TITAN)


def test_whole_models_are_what_their_cut_says():
    """The repeated tile and the repeated layer in one tape."""
    config = replace(_FULL, micro_batch=3, sequence_length=517, method=Method.LAST_LAYERS, trainable_layers=2)
    cut, itself = traced(facts(), config), traced(facts(), config, whole=True, exact=True)

    assert cut.traced_layers < itself.traced_layers
    assert first_difference(lived(cut, config), lived(itself, config)) is None


def test_what_is_not_in_the_table_is_traced_for_its_very_shape_and_card():
    """Experts have tiles of their own; so have models of unknown width."""
    experts = facts("mixtral", num_local_experts=4, num_experts_per_tok=2)
    nameless = {name: value for name, value in facts().items() if name != "vocab_size"}
    for model in (experts, nameless, None):
        assert regime_of(replace(_LORA, micro_batch=2), model) == Regime(single=False, exact=(2, 2048))
    key = regime_of(_LORA, experts).key(_LORA, RTX_4090)
    assert key["family"] == RTX_4090.model
    assert regime_of(_LORA, facts()).key(_LORA, RTX_4090)["family"] == RTX_4090.family


@pytest.mark.parametrize("most", [19, 21])
def test_a_loss_that_is_cut_otherwise_is_refused(monkeypatch, most):
    """Were the reckoning here another than Liger's, no tape would come of it."""
    monkeypatch.setattr(regime, "liger_tiles", lambda *_: most)
    with pytest.raises(AdvisorError, match="cuts its loss otherwise"):
        traced(facts(**_TWO), _LORA)


def test_a_tile_is_the_least_power_of_two_that_is_large_enough():
    """And never more than there is."""
    assert [liger_tile(tokens, 20) for tokens in (1, 20, 21, 40, 41, 2048)] == [1, 1, 2, 2, 4, 128]
    assert [liger_tile(tokens, 1) for tokens in (1, 3, 2000)] == [1, 3, 2000]
    last = Factor(0, 0, 0, 1, 1, tile=1, liger_tiles=20)
    assert [last.at(1, length) for length in (2048, 2049, 1551, 97)] == [128, 1, 15, 1]


def test_a_size_that_hangs_on_the_card_is_never_guessed():
    """A forgotten card must not look like none."""
    rows = Factor(0, 0, 0, 0, 1, multiprocessors=1)

    assert rows.at(1, 2048, 114) == 114
    with pytest.raises(ValueError, match="multiprocessors"):
        rows.at(1, 2048)


@pytest.mark.parametrize("tiles", [1, 2, 3])
def test_a_traces_own_numbers_are_told_apart(tiles):
    """Tile, last tile and multiprocessors are no multiples of each other or of batch and length."""
    symbols = Symbols(13, 227).with_liger(tiles, 20)
    own = symbols.liger

    assert (own.tiles - 1) * own.tile + own.last_tile == 13 * 227 or tiles == 1
    for value, factor in own.values:
        assert symbols.size((value, 7), 2) == symbols.size((7, value), 2)
        assert symbols.size((value,), 1).factors == (factor,)
    assert not symbols.confuse((5003, 704, 32, 64, 128, 4096, 8192))
