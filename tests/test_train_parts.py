"""The small parts of the runner: meter, progress, recipe, and the allocator's setting."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from train_parts import plan_for

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.records import Allocator, Method, Precision, TrainConfig
from advisor.step.observe import Phase
from advisor.train import card
from advisor.train.meter import Meter, measured_figures
from advisor.train.progress import Display, LossLog
from advisor.train.recipe import choose_recipe, rounding_note
from advisor.train.request import RunRequest

CUDA = torch.device("cuda", 0)


@pytest.fixture
def fake_card(monkeypatch):
    """An allocator whose peaks the test sets; a reset brings them down to what is allocated."""
    now = {"allocated": 10, "reserved": 20, "device": 100}
    peak = dict(now)

    def stats(_):
        return {f"{k}_bytes": {"all": {"peak": peak[k]}} for k in ("allocated", "reserved")}

    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", stats)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peak.update(now))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: now["allocated"])
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda _: {"num_alloc_retries": 2})
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr("advisor.train.meter.device_reader", lambda _: lambda: now["device"])
    return SimpleNamespace(now=now, peak=peak)


def test_each_phase_has_its_own_peak(fake_card):
    """A peak belongs to the phase in which it was reached, and the largest pass counts."""
    meter = Meter(CUDA)
    for allocated in (50, 30):
        meter.mark(Phase.FORWARD)
        fake_card.peak.update(allocated=allocated, reserved=60)
        meter.mark(Phase.EVALUATE)
        fake_card.peak.update(allocated=15)
    meter.finish()
    figures = measured_figures(meter)

    assert {name: peaks["peak_allocated_bytes"] for name, peaks in figures["phases"].items()} == {
        "forward": 50,
        "evaluate": 15,
    }
    assert (
        figures["static_bytes"],
        figures["peak_allocated_bytes"],
        figures["peak_reserved_bytes"],
        figures["peak_device_bytes"],
        figures["alloc_retries"],
    ) == (10, 50, 60, 100, 2)


def test_the_first_step_is_told_from_the_later_ones(fake_card):
    """The optimizer's states come with the first; from then on they are there in every phase."""
    ended = []
    meter = Meter(CUDA, after_step=ended.append)
    meter.mark(Phase.PREPARE)
    for allocated in (50, 90, 70):
        meter.mark(Phase.FORWARD)
        meter.mark(Phase.OPTIMIZER)
        fake_card.peak.update(allocated=allocated)
        meter.step_ended()
    meter.mark(Phase.EVALUATE)
    fake_card.peak.update(allocated=500)
    meter.finish()

    assert {name: peak.peak_allocated_bytes for name, peak in meter.steps.items()} == {
        "first-step": 50,
        "later-steps": 90,
    }
    assert ended == [1, 2, 3]


def test_a_step_is_timed_from_its_first_forward_to_its_end(monkeypatch):
    """Evaluation and saving between the steps are no part of them."""
    clock = iter([1.0, 4.0, 100.0, 102.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = Meter(torch.device("cpu"))
    for _ in range(2):
        for _ in range(2):
            meter.mark(Phase.FORWARD)
            meter.mark(Phase.BACKWARD)
        meter.mark(Phase.OPTIMIZER)
        meter.step_ended()
        meter.mark(Phase.EVALUATE)

    assert meter.step_seconds == [3.0, 2.0]


def lines_of(steps, losses):
    """What a run without a terminal prints."""
    console = Console(file=io.StringIO(), width=120)
    log = LossLog(Meter(torch.device("cpu")), tokens_per_step=8, display=Display(console, steps))
    with log.display.shown():
        for number, loss in enumerate(losses, 1):
            log.on_log(None, SimpleNamespace(global_step=number), None, logs={"loss": loss})
    assert list(losses) == log.losses
    return console.file.getvalue().splitlines()


def test_without_a_terminal_a_long_run_prints_some_lines():
    """First, last, and some between; not thousands."""
    lines = lines_of(100, [2.0] * 100)

    assert lines[0].startswith("step 1/100  loss 2.000")
    assert lines[-1].startswith("step 100/100")
    assert 20 <= len(lines) <= 22


def test_on_a_terminal_one_line_moves():
    """The bar shows the last step."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    display = Display(console, 3)
    with display.shown():
        display.step(3, "loss 1.000")

    assert "3/3" in console.file.getvalue()
    assert "loss 1.000" in console.file.getvalue()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error(loss):
    """With the step at which it came."""
    with pytest.raises(AdvisorError, match="at step 2"):
        lines_of(3, [1.0, loss])


def request(tmp_path, **given):
    """A request with those options."""
    return RunRequest(data=tmp_path, output=tmp_path, **given)


def test_the_rate_is_the_methods_or_the_users(tmp_path):
    """Each with its source."""
    lora = plan_for(MODEL_FOLDER)
    large = replace(lora, model=replace(lora.model, parameters=70_000_000_000))
    full = plan_for(MODEL_FOLDER, method=Method.FULL)
    rates = [choose_recipe(plan, request(tmp_path), 100) for plan in (lora, large, full)]
    asked = choose_recipe(lora, request(tmp_path, learning_rate=1e-3, warmup_steps=7), 5)

    assert [recipe.learning_rate for recipe in rates] == [2e-4, 1e-4, 2e-5]
    assert [recipe.reason.code for recipe in rates] == ["lora-rate", "large-lora-rate", "weights-rate"]
    assert rates[0].warmup_steps == 3
    assert (asked.learning_rate, asked.warmup_steps, asked.reason.code) == (1e-3, 5, "asked")


def test_coarse_weights_are_warned_of():
    """bf16 keeps 8 bits: an update of less than 1/256 of a weight is lost."""
    full = {"method": Method.FULL, "precision": Precision.BF16}

    assert "1/256" in rounding_note(plan_for(MODEL_FOLDER, **full))
    assert rounding_note(plan_for(MODEL_FOLDER, **(full | {"precision": Precision.FP32}))) is None
    assert rounding_note(plan_for(MODEL_FOLDER)) is None


def test_the_plan_sets_the_allocator(monkeypatch):
    """Before the card is touched, and beside what the user has set."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "garbage_collection_threshold:0.8")
    note = card.set_allocator(TrainConfig(allocator=Allocator.EXPANDABLE))

    assert note is None
    assert (
        card.os.environ["PYTORCH_CUDA_ALLOC_CONF"]
        == "garbage_collection_threshold:0.8,expandable_segments:True"
    )


def test_an_environment_that_says_otherwise_is_noted(monkeypatch):
    """The plan's figures are for the default."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert "the plan is for the default allocator" in card.set_allocator(TrainConfig())

    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    assert card.set_allocator(TrainConfig()) is None


def test_a_cap_beyond_the_card_is_refused(monkeypatch):
    """It would be no cap."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 << 30))

    with pytest.raises(AdvisorError, match=r"16\.00 GiB can't be put on a card of 8\.00 GiB"):
        card.cap_memory(16 << 30, CUDA)


def test_a_cap_is_a_fraction_of_the_card(monkeypatch):
    """torch takes it so."""
    given = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: given.append(share))
    card.cap_memory(2 << 30, CUDA)

    assert given == [0.25]


def test_what_the_command_line_imports_brings_no_torch():
    """Reading a request, a data file or a run.json costs no seconds."""
    names = ("request", "rows", "recipe", "report", "compare", "output")
    code = "import sys\n" + "\n".join(f"import advisor.train.{name}" for name in names)
    code += "\nsys.exit('torch' in sys.modules or 'transformers' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_what_lies_between_two_measured_stretches_belongs_to_no_phase(fake_card):
    """After `finish` a new phase starts from what is allocated then."""
    meter = Meter(CUDA)
    meter.mark(Phase.EVALUATE)
    meter.finish()
    fake_card.peak.update(allocated=500)
    meter.mark(Phase.PREPARE)
    meter.finish()

    assert meter.phases["prepare"].peak_allocated_bytes == 10
