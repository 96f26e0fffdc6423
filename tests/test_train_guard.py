"""What can't run here is refused before anything is loaded, with the reason and the way out."""

from dataclasses import replace

import pytest
from train_parts import plan_for

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.records import Attention, Autocast, Checkpointing, Loop, Method, Precision
from advisor.train import card
from advisor.train.card import CardNow
from advisor.train.guard import check_driver, check_plan, estimated_bytes

GIB = 1 << 30
T4 = CardNow(
    name="Tesla T4", memory_bytes=15 * GIB, free_bytes=14 * GIB, compute_capability=(7, 5), native_bf16=False
)
H100 = CardNow(
    name="NVIDIA H100",
    memory_bytes=79 * GIB,
    free_bytes=78 * GIB,
    compute_capability=(9, 0),
    native_bf16=True,
)
P100 = replace(T4, name="Tesla P100", compute_capability=(6, 0))


def plan(reserved=10 * GIB, static=5 * GIB, **config):
    """A plan that needs so much."""
    estimate = {"static_bytes": static, "peak_reserved_bytes": {"value": reserved, "low": 0, "high": 0}}
    return plan_for(MODEL_FOLDER, estimate, **config)


def refused(planned, card, **options):
    """The error of the guard."""
    with pytest.raises(AdvisorError) as caught:
        check_plan(planned, card, **options)
    return caught.value


def test_a_plan_that_fits_passes_without_a_word():
    """Nothing to say is nothing said."""
    assert check_plan(plan(), H100) == ()


@pytest.mark.parametrize(
    ("card", "way_out"), [(T4, "advisor plan --gpu t4 --model"), (P100, "advisor show gpus")]
)
def test_bf16_is_refused_where_it_is_emulated(card, way_out):
    """torch would run it, slowly, and say nothing."""
    error = refused(plan(autocast=Autocast.BF16), card)

    assert f"bf16, which the {card.name} can't" in error.what
    assert "native from 8.0" in error.why
    assert way_out in error.fix
    assert ExitCode.ENVIRONMENT is error.exit_code


def test_bf16_storage_under_fp16_autocast_is_no_bf16_arithmetic():
    """The weights are stored in it and computed in fp16."""
    assert check_plan(plan(precision=Precision.BF16, autocast=Autocast.FP16), T4) == ()


def test_bf16_storage_without_autocast_is_bf16_arithmetic():
    """Then the products are bf16 too."""
    refused(plan(precision=Precision.BF16, autocast=Autocast.NONE), T4)


def test_int8_is_refused_on_cards_without_its_kernels():
    """bitsandbytes' LLM.int8 begins at 7.5; NF4 at 6.0."""
    error = refused(plan(precision=Precision.INT8, autocast=Autocast.FP16), P100)

    assert "no int8 kernels for the Tesla P100" in error.what
    assert "compute capability 6.0; they begin at 7.5" in error.why
    assert check_plan(plan(precision=Precision.NF4, autocast=Autocast.FP16), P100) == ()


def test_too_large_for_the_card_is_a_no():
    """The plan can't fit, whatever else runs: exit code 1."""
    error = refused(plan(reserved=80 * GIB), H100)

    assert "does not fit the NVIDIA H100" in error.what
    assert "the plan needs 80.00 GiB of 79.00 GiB" in error.why
    assert ExitCode.NO is error.exit_code


def test_weights_larger_than_the_card_are_named_as_such():
    """The weights alone decide."""
    assert "the weights alone take 100.00 GiB" in refused(plan(reserved=0, static=100 * GIB), H100).why


def test_too_large_for_the_cap_is_a_no():
    """An emulated card is as small as it says."""
    error = refused(plan(), H100, cap_bytes=8 * GIB)

    assert "does not fit the cap of 8.00 GiB" in error.what
    assert ExitCode.NO is error.exit_code


def test_memory_that_others_hold_is_the_environment():
    """It would fit, were the card free: exit code 3, and how to see who holds it."""
    error = refused(plan(), replace(H100, free_bytes=6 * GIB))

    assert "Too little memory is free" in error.what
    assert "needs 10.00 GiB, 6.00 GiB of 79.00 GiB are free now" in error.why
    assert "nvidia-smi" in error.fix
    assert ExitCode.ENVIRONMENT is error.exit_code


@pytest.mark.parametrize(
    "config",
    [
        {"adapter_dtype": "bf16"},
        {"method": Method.FULL, "precision": Precision.FP16},
        {"method": Method.LAST_LAYERS, "precision": Precision.BF16},
    ],
)
def test_the_gradient_scaler_wants_fp32(config):
    """torch fails on these at the first optimizer step, in words about kernels."""
    error = refused(plan(autocast=Autocast.FP16, **config), H100)

    assert "fp16 autocast can't train" in error.what


@pytest.mark.parametrize(
    ("config", "word"),
    [({"precision": Precision.NF4}, "nf4"), ({"optimizer": "paged_adamw_8bit"}, "paged_adamw_8bit")],
)
def test_kernels_that_bitsandbytes_lacks_are_told_before_the_load(config, word):
    """Its library is built for other versions of CUDA; what needs none runs."""
    without = replace(H100, kernels_missing="libcudart.so.13 is missing")
    error = refused(plan(**config), without)

    assert error.what == f"bitsandbytes can't do {word} here."
    assert "libcudart" in error.why
    assert check_plan(plan(), without) == ()


def test_others_on_the_card_are_told():
    """Loudly: neither the speed nor the free memory is the run's own."""
    (note,) = check_plan(plan(), replace(H100, shared=True))

    assert note.startswith("WARNING: others use the NVIDIA H100 too")


def test_a_card_that_torch_can_not_use_is_no_reason_to_train_on_the_cpu(monkeypatch):
    """Driver and torch are named; who hides the card wants the CPU."""
    monkeypatch.setattr(card, "driver", lambda: "470.1")
    monkeypatch.setattr(card.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(card.pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    with pytest.raises(AdvisorError, match="can't use the NVIDIA card") as caught:
        check_driver(card.unusable_card())
    assert "the driver is 470.1, and this torch" in caught.value.why
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_driver(card.unusable_card())


def test_flash_attention_wants_its_package_and_a_card():
    """Both are said before the model is loaded."""
    assert "flash-attn is not installed" in refused(plan(attention=Attention.FLASH_ATTENTION_2), H100).why
    assert "no CUDA card" in refused(plan(attention=Attention.FLASH_ATTENTION_2), None).why


def test_offloading_wants_a_card():
    """torch would say so in words about pinned memory, in the first step."""
    error = refused(plan(static=GIB, checkpointing=Checkpointing.OFFLOADED), None)

    assert "without a card" in error.what
    assert check_plan(plan(checkpointing=Checkpointing.OFFLOADED), H100) == ()


def test_the_bare_loop_is_not_run():
    """It has no learning rate, no evaluation and no checkpoints."""
    assert "bare" in refused(plan(loop=Loop.BARE), H100).what


def test_a_cpu_runs_it_and_says_so_loudly():
    """The first note is a warning, and names what stays unchecked."""
    (note,) = check_plan(plan(static=GIB), None)

    assert note.startswith("WARNING: no GPU here")
    assert "Tesla T4 stay unchecked" in note


def test_a_model_beyond_main_memory_is_refused_on_a_cpu():
    """It would swap for days."""
    assert "does not fit the main memory" in refused(plan(static=1 << 50), None).what


@pytest.mark.parametrize("figure", [None, "many", {"value": "x"}, True, []])
def test_a_broken_figure_counts_as_unknown(figure):
    """A plan file is hostile; the guard does not crash on it."""
    assert estimated_bytes(plan_for(MODEL_FOLDER, {"static_bytes": figure}), "static_bytes") == 0
