"""The command line as its user meets it: what it prints and its exit codes; most of it in real processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_parts import advisor as within

from advisor.demo import MODEL_FOLDER

CONTRACT = {
    *("id", "basis", "static_bytes", "peak_allocated_bytes", "peak_reserved_bytes", "minimum_reserved_bytes"),
    *("peak_device_bytes", "phases", "at_peak", "step_seconds", "tokens_per_second", "error"),
}
TINY = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}


def advisor(*words: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """`advisor …` in a process of its own."""
    command = [sys.executable, "-m", "advisor.cli", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)


def test_the_main_command_prints_a_plan():
    """The first thing that anyone types."""
    run = advisor("plan", "--gpu", "16GB", "--model", "8B")

    assert (0, "") == (run.returncode, run.stderr)
    for word in ("Tesla T4", "QLoRA", "nf4", "14.39 GiB", "FP16 LoRA", "Assumed", "advisor run plan.json"):
        assert word in run.stdout


def test_a_plan_from_shipped_tapes_imports_no_torch():
    """Nor anything else that takes longer to import than the answer takes."""
    program = (
        "import sys\n"
        "sys.argv = ['advisor', 'plan', '--gpu', '16GB', '--model', '8B']\n"
        "from advisor.cli import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'bitsandbytes', 'accelerate', 'trl', 'pandas', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]" == run.stderr.strip()


def test_json_is_one_versioned_document():
    """For scripts: everything that the terminal shows, with a schema."""
    run = advisor("plan", "--gpu", "16GB", "--model", "8B", "--json")
    document = json.loads(run.stdout)

    assert 1 == document["schema"]
    assert {"model", "gpu", "config", "estimate", "choices", "alternatives", "assumptions", "command"} <= set(
        document
    )
    assert 16 == document["config"]["effective_batch"]


def test_a_saved_plan_is_never_overwritten(tmp_path):
    """Unless the user says so."""
    file = tmp_path / "plan.json"
    words = ("plan", "--gpu", "16GB", "--model", "8B", "-o", str(file))

    assert 0 == advisor(*words).returncode
    before = file.read_bytes()
    second = advisor(*words)
    assert 2 == second.returncode
    assert "exists" in second.stderr
    assert before == file.read_bytes()
    assert 0 == advisor(*words, "--force").returncode


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("plan", "--gpu", "rtx-9999", "--model", "8B"),
            2,
            ("Unknown GPU", "nearest known", "advisor show gpus"),
        ),
        (("plan", "--gpu", "17GB", "--model", "8B"), 2, ("17GB", "16GB (t4)")),
        (("plan", "--gpu", "16GB", "--model", "lama-8b"), 2, ("Unknown model", "advisor show models")),
        (("plan", "--gpu", "16GB", "--model", "70B"), 1, ("Nothing fits", "of 14.39 GiB")),
        (("plan", "--gpu", "16GB", "--model", "8B", "--micro-batch", "3"), 2, ("does not divide",)),
        (("plan", "--gpu", "16GB", "--model", "8B", "--reserve", "much"), 2, ("not a size",)),
        (("plan", "--gpu", "16GB"), 2, ("--model",)),
        (("estimate", "nowhere.jsonl"), 2, ("Can't read nowhere.jsonl",)),
        (("verify", "nowhere"), 2, ("holds no run that ended", "advisor run --output")),
        (("merge", "nowhere", "-o", "merged"), 2, ("Can't read", "advisor run")),
        (("run", "nowhere.json", "--data", "d.jsonl", "--output", "out"), 2, ("no file nowhere.json",)),
    ],
)
def test_bad_input_is_one_clear_message(words, code, said):
    """What, why, fix; the documented exit code; never a traceback."""
    run = within(*words)

    assert code == run.returncode
    assert all(word in run.stderr for word in said), run.stderr
    assert "Traceback" not in run.stderr
    assert "" == run.stdout


@pytest.mark.parametrize("missing", ["model_type", "hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_config_with_a_missing_field_is_named(tmp_path, missing):
    """The field, and the file."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({k: v for k, v in TINY.items() if k != missing}))

    run = within("plan", "--gpu", "16GB", "--model", str(path))

    assert 2 == run.returncode
    assert missing in run.stderr
    assert "Traceback" not in run.stderr


def test_an_architecture_that_can_not_be_traced_says_why(tmp_path):
    """transformers knows it, but it predicts no next token."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**TINY, "model_type": "vit"}))

    run = advisor("plan", "--gpu", "16GB", "--model", str(path), "--micro-batch", "2", "--precision", "nf4")

    assert run.returncode in (1, 2)
    assert "vit" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_new_config_is_traced_once_and_kept(tmp_path):
    """The second question about it needs no trace."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    words = (
        "plan",
        "--gpu",
        "rtx-4090",
        "--model",
        str(path),
        "--micro-batch",
        "2",
        "--precision",
        "nf4",
        "--json",
    )

    first, second = advisor(*words), advisor(*words)

    assert (0, 0) == (first.returncode, second.returncode), first.stderr
    assert "tracing" in first.stderr
    assert "" == second.stderr
    assert first.stdout == second.stdout


def test_estimate_answers_in_order_and_goes_on_after_a_bad_row():
    """The contract: one object a line in, one a line out, and exit code 1 where a row failed."""
    rows = [
        {"id": "a", "model": "8B", "gpu": "t4", "precision": "nf4", "autocast": "fp16", "micro_batch": 1,
         "accumulation_steps": 16, "checkpointing": "non-reentrant", "loss": "chunked"},
        {"id": "b", "model": "no-such-model"},
        {"id": "c", "model": TINY, "method": "full", "sequence_length": 128, "precision": "fp32"},
        {"id": "d", "model": TINY, "sequence_length": 0},
        {"id": "e", "model": TINY, "sequnce_length": 64},
        {"id": "f", "model": TINY, "method": "full", "precision": "nf4", "sequence_length": 128},
    ]  # fmt: skip
    run = advisor("estimate", "-", "--json", stdin="\n".join(map(json.dumps, rows)) + "\nnot json\n")
    answers = [json.loads(line) for line in run.stdout.splitlines()]

    assert 1 == run.returncode
    assert [*"abcdef", None] == [a["id"] for a in answers]
    assert ["a", "c"] == [a["id"] for a in answers if a["error"] is None]
    assert all(set(a) >= CONTRACT for a in answers if a["error"] is None)
    assert "sequence_length" in answers[4]["error"]  # the nearest known key
    for answer in (answers[0], answers[2]):
        figure = answer["peak_allocated_bytes"]
        assert 0 < figure["low"] <= figure["value"] <= figure["high"]
        assert answer["static_bytes"] < figure["value"] <= answer["peak_reserved_bytes"]["value"]
        assert figure["value"] <= answer["minimum_reserved_bytes"]
    assert answers[0]["peak_device_bytes"]["value"] > answers[0]["peak_reserved_bytes"]["value"]
    assert answers[2]["peak_device_bytes"] is None


def test_show_lists_the_catalog():
    """Every card and model, by the names that other commands take."""
    gpus = json.loads(within("show", "gpus", "--json").stdout)["gpus"]
    models = json.loads(within("show", "models", "--json").stdout)["models"]

    assert len(gpus) >= 45
    assert len(models) >= 25
    assert "t4" in within("show", "gpus").stdout
    assert "llama-3.1-8b" in within("show", "models").stdout


def test_interrupted_while_tracing_leaves_nothing_half_written(tmp_path):
    """Ctrl-C: exit code 130, no traceback, no partial tape."""
    cache = tmp_path / "cache"
    environment = {**os.environ, "ADVISOR_CACHE": str(cache)}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "advisor.cli", "plan", "--gpu", "24GB", "--model", str(config)]
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    assert "tracing" in process.stderr.readline()
    time.sleep(1)
    os.killpg(process.pid, 2)
    _, errors = process.communicate(timeout=30)

    assert 130 == process.returncode, errors
    assert "Traceback" not in errors
    assert not list(cache.rglob("*.partial"))


def test_a_full_disk_is_one_clear_message(tmp_path):
    """A plan that can't be written: exit code 3, and the old files stay."""
    run = advisor("plan", "--gpu", "16GB", "--model", "8B", "-o", "/dev/full/plan.json")

    assert 3 == run.returncode
    assert "Can't write" in run.stderr


def test_the_demo_model_works_wherever_a_model_does():
    """A directory with a config.json is a model."""
    run = advisor("estimate", "-", stdin=json.dumps({"model": str(MODEL_FOLDER), "sequence_length": 256}))

    assert 0 == run.returncode, run.stdout
    assert Path(MODEL_FOLDER).is_dir()
