"""Checkpointing only the first layers: one cut tape does what the whole model does, for every count of them."""

import pytest
from simulate_parts import facts, first_difference, lived, traced

from advisor.catalog.models import all_models
from advisor.errors import AdvisorError
from advisor.records import Checkpointing, Loss, Method, TrainConfig
from advisor.replay.allocated import least_peak_bytes
from advisor.replay.brief import brief
from advisor.replay.memory import program, replay
from advisor.replay.shape import Shape
from advisor.simulate.parts import cut
from advisor.tape.events import NO_PART
from advisor.tape.file import tape_from_bytes, tape_to_bytes
from advisor.tape.regime import alike_model_types, layers_are_alike, regime_of

KEPT, AGAIN = Checkpointing.NON_REENTRANT, Checkpointing.REENTRANT
_SHAPE = {"micro_batch": 2, "sequence_length": 1024, "lora_targets": ("q_proj", "down_proj")}
_LAYERS = 12
_MODEL = facts(num_hidden_layers=_LAYERS)
CASES = [
    *((count, {"checkpointing": KEPT}) for count in (1, 4, 6, 11)),
    (7, {"checkpointing": AGAIN, "method": Method.FULL, "loss": Loss.CHUNKED}),
    (3, {"checkpointing": KEPT, "method": Method.LAST_LAYERS, "trainable_layers": 2}),
    (11, {"checkpointing": AGAIN, "method": Method.LAST_LAYERS, "trainable_layers": 2}),
]


def _config(count, **changes):
    return TrainConfig(**(_SHAPE | {"checkpointing": KEPT} | changes), checkpointed_layers=count)


@pytest.mark.parametrize(("count", "changes"), CASES, ids=str)
def test_the_cut_is_the_whole(count, changes):
    """Every allocation, free and kernel, in order."""
    config = _config(count, **changes)
    whole, short = traced(_MODEL, config, whole=True), traced(_MODEL, config)

    assert short.traced_layers < whole.traced_layers == short.layers == _LAYERS
    assert first_difference(lived(whole, config), lived(short, config)) is None
    assert (short.parameters, short.trainable) == (whole.parameters, whole.trainable)


def test_one_tape_answers_for_every_count():
    """Traced for one count, read for another; kept in a file in between."""
    asked, other = _config(8), _config(5)
    kept = tape_from_bytes(tape_to_bytes(traced(_MODEL, asked)))
    whole = traced(_MODEL, other, whole=True)

    assert kept.copies != kept.split_at(5).copies
    assert first_difference(lived(whole, other), lived(kept.split_at(5), other)) is None


def test_layers_in_a_pattern_are_cut_where_the_count_fits_it():
    """Local and global attention by turns: an even count ends a period, an odd one does not."""
    model = facts("gemma2", num_hidden_layers=_LAYERS, head_dim=32, sliding_window=512)
    even, odd = _config(6), _config(5)

    short, whole = traced(model, even), traced(model, even, whole=True)
    assert first_difference(lived(whole, even), lived(short, even)) is None
    assert cut(model, odd, whole=False).further == 0
    assert regime_of(even, model) != regime_of(_config(8), model)  # each count has a tape of its own


def test_fewer_checkpointed_layers_need_more():
    """Each count from all to none; and what is read off the cut tape is never above the replay."""
    tape = brief(traced(_MODEL, _config(6)))
    shape = Shape(micro_batch=2, sequence_length=1024, cublas_workspace_bytes=8 << 20)
    tapes = [tape.split_at(count) for count in range(8, 3, -1)]
    peaks = [replay(program(each), shape).peak_allocated_bytes for each in tapes]
    least = [least_peak_bytes(each, shape) for each in tapes]

    assert peaks == sorted(set(peaks))
    assert all(0.95 * peak <= bound <= peak for bound, peak in zip(least, peaks, strict=True))


def test_all_layers_are_the_same_as_no_count():
    """So is a count where nothing is checkpointed: no other tape is asked for."""
    everything, plain = _config(_LAYERS), TrainConfig(**_SHAPE, checkpointing=KEPT)

    assert regime_of(everything, _MODEL) == regime_of(plain, _MODEL)
    assert traced(_MODEL, everything).template != NO_PART
    nothing = _config(4, checkpointing=Checkpointing.NONE)
    assert regime_of(nothing, _MODEL).split == (0, 0)


def test_more_than_there_are_is_refused():
    """With both numbers."""
    with pytest.raises(AdvisorError, match=r"checkpointed_layers = 13, but the model has 12 layers"):
        traced(_MODEL, _config(13))


def test_a_model_that_breaks_the_promise_is_refused():
    """A llama whose layers differ would give a tape that is wrong for other counts."""
    odd = facts(num_hidden_layers=_LAYERS, layer_types=["full_attention"] * _LAYERS)
    regime = regime_of(_config(6), odd)
    assert sum(regime.split) < _LAYERS

    from advisor.simulate.trace import _check_alone

    with pytest.raises(AdvisorError, match="not all alike"):
        _check_alone(regime, _LAYERS)
    _check_alone(regime_of(_config(6), facts("gemma2", num_hidden_layers=_LAYERS)), _LAYERS)


def test_architectures_that_are_said_to_be_alike_are():
    """Of every model of the catalog."""
    alike = [model for model in all_models() if layers_are_alike(model.config)]
    kinds = {model.config["model_type"] for model in alike}

    assert kinds == set(alike_model_types())
    config = _config(1)
    for model in {m.config["model_type"]: m for m in alike}.values():
        made = cut(model.config, config, whole=False)
        assert made.parts.period == 1
        assert made.parts.layers == 1 + 4
