"""Verdicts that agree with the replay, and changes that do what they promise."""

from dataclasses import replace
from functools import partial

from interop_parts import TINY

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import model_from_config
from advisor.check import Verdict, _Search, _singles, check, traceable
from advisor.interop.settings import can_be_set, settings_between
from advisor.records import Loss, config_from_json

CARD, OLD = find_gpu("rtx-4090")[0], find_gpu("t4")[0]
MODEL = model_from_config(TINY, "tiny")[0]
FEW = {
    "optimizer": "adamw_8bit",
    "lora_targets": ["q_proj", "v_proj"],
    "precision": "nf4",
}  # levers, so traces
CONFIG = config_from_json(FEW | {"micro_batch": 4, "accumulation_steps": 2, "sequence_length": 512})


def needs(config, estimator, gpu=CARD):
    """The upper end of what the config reserves."""
    return estimator.estimate(MODEL, config, gpu).peak_reserved_bytes.high


def asked(config, room_bytes, estimator, gpu=CARD):
    """The answer where the card gives so much; Liger's kernels, a lever more to trace, are left out."""
    reserve = usable_bytes(gpu) - room_bytes
    return check(
        MODEL, config, gpu, estimator, reserve_bytes=reserve, may_become=lambda c: c.loss is not Loss.LIGER
    )


def test_the_verdict_is_by_the_upper_end(estimator):
    """To the byte; below it the config may still run, and below all of the interval it does not."""
    estimate = estimator.estimate(MODEL, CONFIG, CARD)
    high = estimate.peak_reserved_bytes.high
    least = min(estimate.minimum_reserved_bytes, estimate.peak_reserved_bytes.low)
    verdicts = [asked(CONFIG, room, estimator).verdict for room in (high, high - 1, least // 2)]

    assert [Verdict.FITS, Verdict.TIGHT, Verdict.NO] == verdicts
    assert asked(CONFIG, high, estimator).remedy is None


def test_one_change_is_enough_where_one_is(estimator):
    """The first of the order that fits; it was replayed, and keeps all else, the effective batch too."""
    room = needs(CONFIG, estimator) - 1
    answer = asked(CONFIG, room, estimator)
    remedy = answer.remedy

    assert 1 == len(remedy.changes) == len(remedy.costs)
    assert remedy.needed_bytes.high <= room
    assert remedy.needed_bytes.high == needs(remedy.config, estimator)
    assert CONFIG.effective_batch == remedy.config.effective_batch


def test_two_changes_where_one_is_not_enough(estimator):
    """None of the single ones fits; the pair does, and is one change on top of another."""
    both = {"loss": "chunked", "checkpointing": "non-reentrant"}
    config = replace(
        CONFIG, micro_batch=1, accumulation_steps=8
    )  # no smaller batch is left, nor a shorter text
    room = needs(config_from_json(config.to_json() | both), estimator)
    answer = asked(config, room, estimator)
    changed = {k for k, v in answer.remedy.config.to_json().items() if v != config.to_json()[k]}

    assert Verdict.NO is answer.verdict
    assert 2 == len(answer.remedy.changes)
    assert answer.remedy.needed_bytes.high <= room
    assert both.keys() == changed


def test_where_nothing_helps_there_is_no_advice(estimator):
    """A room smaller than the weights."""
    assert asked(CONFIG, 1 << 20, estimator).remedy is None


def test_a_smaller_batch_is_the_largest_that_fits(estimator):
    """With the accumulation that keeps the effective batch, where nothing else is left to change before it."""
    config = config_from_json(
        CONFIG.to_json() | {"loss": "chunked", "checkpointing": "non-reentrant", "allocator": "expandable"}
    )
    two = replace(config, micro_batch=2, accumulation_steps=4)
    answer = asked(config, needs(two, estimator), estimator)

    assert ("micro-batch 2 with 4 accumulation steps",) == answer.remedy.changes
    assert two == answer.remedy.config


def test_ligers_kernels_are_advised_where_they_run_and_can_be_said(estimator):
    """On Ampere and later, and not in a trl file, which leaves Liger's loss out."""
    config = config_from_json(CONFIG.to_json() | {"loss": "chunked", "allocator": "expandable"})
    liger = replace(config, loss=Loss.LIGER)
    room = needs(liger, estimator)
    spare = usable_bytes(CARD) - room
    assert room < needs(config, estimator)
    assert check(MODEL, config, CARD, estimator, reserve_bytes=spare).remedy.config == liger

    def changed(gpu, tool):
        """What may be advised, of all that there is."""
        search = _Search(MODEL, config, gpu, estimator, 0, partial(can_be_set, tool, config))
        return {name for name, there, _ in _singles(config, gpu) if search._is_possible(there)}

    evaluated = replace(config, evaluates=True), replace(liger, evaluates=True)

    assert "Liger kernels" in changed(CARD, "axolotl") & changed(CARD, "llama-factory") & changed(CARD, "")
    assert "Liger kernels" not in changed(CARD, "trl") | changed(OLD, "axolotl")
    assert not can_be_set("axolotl", *evaluated)
    assert can_be_set("", *evaluated)
    assert "checkpointing non-reentrant" in changed(CARD, "trl") & changed(OLD, "axolotl")


def test_an_evaluation_that_does_not_fit_gets_smaller_batches(estimator):
    """Training fits; whole logits of a large batch do not. Nothing of the training is changed for that."""
    config = replace(CONFIG, evaluates=True, evaluation_batch=64)
    room = needs(CONFIG, estimator)
    answer = asked(config, room, estimator)

    assert answer.estimate.peak_phase == "evaluate"
    assert answer.verdict is Verdict.NO
    assert answer.remedy.config == replace(config, evaluation_batch=CONFIG.micro_batch)
    assert settings_between("trl", config, answer.remedy.config) == ("per_device_eval_batch_size: 4",)
    assert asked(answer.remedy.config, room, estimator).verdict is Verdict.FITS


def test_what_a_card_lacks_is_said(estimator):
    """bf16 and flash-attn before sm80; where the package is not here, torch's own kernel stands for it."""
    flash = config_from_json({"attention": "flash_attention_2", "sequence_length": 256})
    config, notes = traceable(flash, OLD)

    assert "sdpa" == config.attention.value
    assert 3 == len(notes)
    assert "sm80" in notes[0]
    assert "bf16" in notes[2]
    assert () == traceable(CONFIG, CARD)[1]
    assert Verdict.FITS is check(MODEL, flash, OLD, estimator).verdict
