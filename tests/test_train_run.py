"""Real runs, small: each method from text to saved weights, on the CPU, with real bitsandbytes."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from train_parts import one_thread, plan_for, run
from transformers import AutoModelForCausalLM, AutoTokenizer

from advisor.demo import HELDOUT_FILE, MODEL_FOLDER, TRAIN_FILE
from advisor.errors import AdvisorError, ExitCode
from advisor.records import Checkpointing, Loss, Method, Precision
from advisor.step.adapt import adapt
from advisor.step.load import load_model
from advisor.step.observe import Unobserved
from advisor.step.trainer import MarkedSftTrainer, MarkedTrainer
from advisor.step.weights import Checkpoint
from advisor.train import attempt as module
from advisor.train import output as folders
from advisor.train.generate import compare_text, load_adapted, write_text
from advisor.train.report import load_report

LORA_CONFIGS = {
    "nf4": {"precision": Precision.NF4},
    "nf4 chunked": {"precision": Precision.NF4, "loss": Loss.CHUNKED},
    "int8 reentrant": {"precision": Precision.INT8, "checkpointing": Checkpointing.REENTRANT},
    "bf16 checkpointed": {"precision": Precision.BF16, "checkpointing": Checkpointing.NON_REENTRANT},
}
WEIGHT_CONFIGS = {
    "full fp32": {"method": Method.FULL, "precision": Precision.FP32},
    "full bf16 8-bit": {"method": Method.FULL, "precision": Precision.BF16, "optimizer": "adamw_8bit"},
    "last layers": {"method": Method.LAST_LAYERS, "precision": Precision.BF16, "trainable_layers": 1},
}


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of the micro-batches that were trained and evaluated on."""
    seen = []
    for kind in (MarkedTrainer, MarkedSftTrainer):
        plain = kind.compute_loss

        def watched(self, model, inputs, *args, plain=plain, **kwargs):
            seen.append((model.training, tuple(inputs["input_ids"].shape)))
            return plain(self, model, inputs, *args, **kwargs)

        monkeypatch.setattr(kind, "compute_loss", watched)
    return seen


@pytest.mark.parametrize("case", LORA_CONFIGS)
def test_an_adapter_is_trained_saved_and_changes_the_output(tmp_path, data, shapes, case):
    """On the demo's real model; the saved adapter loads with PEFT and is the trained one."""
    planned = plan_for(MODEL_FOLDER, **LORA_CONFIGS[case])
    report = run(planned, tmp_path / "out", data, MODEL_FOLDER, learning_rate=1e-2, max_steps=4)
    base = AutoModelForCausalLM.from_pretrained(MODEL_FOLDER, dtype=torch.float32)
    ids = torch.arange(40, 60)[None]
    plain = base(ids).logits
    adapted = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")

    assert {(True, (2, 32)), (False, (2, 32))} == set(shapes)
    assert sum(training for training, _ in shapes) == 2 * 2 + 4 * 2  # the rehearsal's, and the run's
    assert report.learned.evaluation_after < report.learned.evaluation_before
    assert not torch.allclose(plain, adapted(ids).logits, atol=1e-2)
    assert str(MODEL_FOLDER) == adapted.peft_config["default"].base_model_name_or_path
    assert [
        path.name for path in (tmp_path / "out").iterdir() if path.name not in ("adapter", "run.json")
    ] == []


@pytest.mark.parametrize("case", WEIGHT_CONFIGS)
def test_trained_weights_are_saved_and_only_those_that_should_have_moved(tmp_path, tiny, data, case):
    """Full training moves all; last-layers the last decoder layer alone; the folder is a whole model."""
    planned = plan_for(tiny, **WEIGHT_CONFIGS[case])
    run(planned, tmp_path / "out", data, tiny, learning_rate=1e-2)
    before = load_file(tiny / "model.safetensors")
    after = load_file(tmp_path / "out" / "model" / "model.safetensors")
    moved = {name for name in before if not torch.allclose(before[name], after[name].float(), atol=1e-3)}
    last = {name for name in before if name.startswith("model.layers.1.") and "norm" not in name}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")

    assert before.keys() == after.keys()
    assert last <= moved
    if planned.config.method is Method.LAST_LAYERS:
        assert all(name.startswith("model.layers.1.") for name in moved)
    else:
        assert {"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"} <= moved
    assert model.config.use_cache
    assert isinstance(write_text(model, tokenizer, "entry", new_tokens=4, seed=None), str)


def test_the_run_file_holds_the_plan_beside_the_run(tmp_path, data):
    """On a CPU what needs a card is null, and the basis says why."""
    planned = plan_for(MODEL_FOLDER, precision=Precision.NF4)
    run(planned, tmp_path, data, MODEL_FOLDER, cap_bytes=8 << 30)
    document = load_report(tmp_path / "run.json")
    measured, training = document["measured"], document["training"]

    assert tuple(document[k] for k in ("schema", "kind", "saved", "cap_bytes")) == (
        1,
        "run",
        "adapter",
        8 << 30,
    )
    assert planned.estimate == document["predicted"]
    assert planned.config.to_json() | {"effective_batch": 4} == document["config"]
    assert "GPU memory is not, for there is no CUDA card here" in document["basis"]
    for key in ("static", "peak_allocated", "peak_reserved", "peak_device"):
        assert measured[f"{key}_bytes"] is None
    assert measured["alloc_retries"] is None
    assert measured["phases"] == {}
    assert 3 == len(measured["step_seconds"]) == len(training["loss"]) == training["steps"]
    assert all(value > 0 for value in (*measured["step_seconds"], *training["loss"]))
    assert measured["tokens_per_second"] > 0
    assert math.isfinite(training["evaluation_loss"]["before"])
    assert training["learning_rate"] == 2e-4
    assert "QLoRA" in training["learning_rate_reason"]
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= document["environment"]["packages"].keys()
    assert any("no card, so the cap" in note for note in document["notes"])


def test_the_run_file_names_no_place(tmp_path, data):
    """No path, host or user in it, so that it can be shared."""
    import getpass
    import socket

    run(plan_for(MODEL_FOLDER), tmp_path, data, MODEL_FOLDER)
    text = (tmp_path / "run.json").read_text()

    for word in (str(tmp_path), str(MODEL_FOLDER), str(Path.home()) + "/", socket.gethostname()):
        assert word not in text
    assert f'"{getpass.getuser()}"' not in text


def test_the_seed_decides(tmp_path, data):
    """Two runs of one request are one run: adapters, order and losses."""
    losses = [
        run(plan_for(MODEL_FOLDER), tmp_path / name, data, MODEL_FOLDER, seed=seed).learned.losses
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]

    assert losses[0] == losses[1] != losses[2]


def test_nothing_is_written_to_stdout(tmp_path, data, capsys):
    """It is for results; progress goes to the console that was given."""
    run(plan_for(MODEL_FOLDER), tmp_path, data, MODEL_FOLDER)

    assert capsys.readouterr().out == ""


def test_an_earlier_run_is_not_replaced_unasked(tmp_path, data):
    """Refused before anything is loaded; with force it is replaced."""
    planned = plan_for(MODEL_FOLDER)
    run(planned, tmp_path, data, MODEL_FOLDER)
    first = (tmp_path / "run.json").read_text()

    with pytest.raises(AdvisorError, match="holds an earlier run"):
        run(planned, tmp_path, data, MODEL_FOLDER)
    assert first == (tmp_path / "run.json").read_text()

    run(planned, tmp_path, data, MODEL_FOLDER, seed=5, force=True)
    assert load_report(tmp_path / "run.json")["training"]["seed"] == 5

    run(planned, tmp_path, data, "random", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_random_weights_run_and_are_not_saved(tmp_path, data):
    """The run is real, and says loudly what it is worth."""
    report = run(plan_for(MODEL_FOLDER), tmp_path, data, "tiny")

    assert report.random_weights
    assert report.saved is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert any(note.startswith("WARNING: random weights") for note in report.notes)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, tiny, data):
    """Nothing is saved, for nothing in it is worth anything."""
    planned = plan_for(tiny, method=Method.FULL, precision=Precision.FP32)

    with pytest.raises(AdvisorError, match="The loss became") as caught:
        run(planned, tmp_path, data, tiny, learning_rate=1e30, warmup_steps=0, max_steps=6)

    assert ExitCode.NO is caught.value.exit_code
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path, tiny, data, monkeypatch):
    """A real, tiny disk; the check before the training, which would see it, is switched off."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("may not mount a tmpfs")
    planned = plan_for(tiny, method=Method.FULL, precision=Precision.FP32)
    try:
        with pytest.raises(AdvisorError, match="Too little room"):
            run(planned, disk / "out", data, tiny)
        monkeypatch.setattr(folders, "check_space", lambda *_: None)
        with pytest.raises(AdvisorError, match="is full") as caught:
            run(planned, disk / "out", data, tiny)
        assert ExitCode.ENVIRONMENT is caught.value.exit_code
        assert not (disk / "out").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_card_that_fills_is_an_answer(tmp_path, data, monkeypatch):
    """CUDA's error becomes a sentence with the plan's figure in it."""

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 MiB. GPU 0 …")

    monkeypatch.setattr(module, "build", full)
    with pytest.raises(AdvisorError, match="ran out of memory") as caught:
        run(plan_for(MODEL_FOLDER), tmp_path / "out", data, MODEL_FOLDER, cap_bytes=1 << 30)

    assert "96.00 MiB more were asked for" in caught.value.why
    assert ExitCode.NO is caught.value.exit_code


def test_the_demo_learns_and_its_text_changes(tmp_path):
    """Real QLoRA on real text: ten steps already lower the held-out loss, and both lines are text."""
    planned = plan_for(MODEL_FOLDER, precision=Precision.NF4, micro_batch=4, sequence_length=128)
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text("".join(HELDOUT_FILE.read_text().splitlines(keepends=True)[:30]))
    schedule = {"max_steps": 10, "learning_rate": 5e-3, "warmup_steps": 2}
    report = run(planned, tmp_path, TRAIN_FILE, MODEL_FOLDER, evaluation_data=heldout, **schedule)
    model = load_adapted(str(MODEL_FOLDER), tmp_path / "adapter", planned.config, torch.device("cpu"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    with one_thread():
        line, again = (compare_text(model, tokenizer, "computer (noun):", new_tokens=16) for _ in range(2))

    assert report.learned.evaluation_after < report.learned.evaluation_before - 0.3
    assert line.before
    assert line.after
    assert line.before != line.after
    assert line == again


def test_writing_text_keeps_a_4_bit_model_trainable():
    """An eval pass must not repack the weights: on AVX512-BF16 the next gradients would be lost, silently."""
    config = plan_for(MODEL_FOLDER, precision=Precision.NF4).config
    base = load_model(Checkpoint(str(MODEL_FOLDER)), config, torch.device("cpu"), Unobserved())
    model = adapt(base, config).train()
    tokenizer = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    ids = torch.arange(40, 60)[None]
    with one_thread():
        write_text(model, tokenizer, "hack", new_tokens=4)
        model(input_ids=ids, labels=ids).loss.backward()
    first = next(p for name, p in model.named_parameters() if "layers.0" in name and "lora_B" in name)

    assert model.training
    assert first.grad.abs().sum() > 0


def test_a_run_file_is_plain_json(tmp_path, data):
    """No NaN or Infinity, which are no JSON."""
    run(plan_for(MODEL_FOLDER), tmp_path, data, MODEL_FOLDER)

    def refuse(word):
        raise ValueError(word)

    json.loads((tmp_path / "run.json").read_text(), parse_constant=refuse)
