"""`advisor check` as people, scripts and CI meet it: exit codes, JSON, JUnit, the job's page."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from cli_parts import advisor
from interop_parts import TINY

ROOT = Path(__file__).parent.parent
# Of all levers only the smaller micro-batch is left, so that few steps are traced.
CONFIG = """
dtype: bfloat16
use_peft: true
load_in_4bit: true
use_bnb_nested_quant: true
lora_target_modules: [q_proj, v_proj]
lora_dropout: 0.0
optim: adamw_8bit
env: {{PYTORCH_CUDA_ALLOC_CONF: "expandable_segments:True"}}
per_device_train_batch_size: 2
max_length: 256
output_dir: out
{more}"""
# The same with a micro-batch of one, in the words of `advisor estimate`.
OPTIONS = (
    *("--precision", "nf4", "--micro-batch", "1", "--accumulation-steps", "2", "--sequence-length", "256"),
    *("--checkpointing", "non-reentrant", "--loss", "chunked", "--optimizer", "adamw_8bit"),
    *(
        "--set",
        'lora_targets=["q_proj", "v_proj"]',
        "--set",
        "adapter_dtype=bf16",
        "--set",
        "allocator=expandable",
    ),
)


@pytest.fixture
def folder(tmp_path):
    """A model, a config that fits, one that does not, and one that is none."""
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    named = f"model_name_or_path: {tmp_path}/config.json\n"
    (tmp_path / "train.yml").write_text(named + CONFIG.format(more=""))
    (tmp_path / "train-typo.yml").write_text(named + CONFIG.format(more="gradient_checkpointin: true\n"))
    return tmp_path


def check(*words, folder, **environment):
    """`advisor check …` in the folder: exit code, stdout, stderr."""
    run = advisor("check", *words, folder=folder, **{"COLUMNS": "200"} | environment)
    assert "Traceback" not in run.stderr
    return run.returncode, run.stdout, run.stderr


def test_a_file_on_two_cards(folder):
    """What it needs beside what each gives, and every key; exit code 0."""
    page = folder / "page.md"
    words = ("--gpu", "24GB", "--gpu", "rtx-4090", "--junit", "fits.xml", "train.yml")
    code, out, err = check(*words, folder=folder, GITHUB_STEP_SUMMARY=str(page))

    assert 0 == code, err
    for words in (
        "NVIDIA A10G: needs",
        "RTX 4090: needs",
        "fits",
        "trl sft",
        "no bearing on memory: output_dir",
    ):
        assert words in out
    assert 2 == out.count("90 %: ")
    assert "gradient_checkpointing = true" in out  # a default of trl's
    suite = ET.parse(folder / "fits.xml").getroot().find("testsuite")
    assert ("2", "0", "0") == (suite.get("tests"), suite.get("failures"), suite.get("errors"))
    assert "| train.yml | NVIDIA A10G |" in page.read_text()


def test_what_does_not_fit_names_the_change_in_the_files_words(folder):
    """Exit code 1; the JSON has the numbers, JUnit a failure."""
    room = json.loads(check("--gpu", "24GB", "train.yml", "--json", folder=folder)[1])["checks"][0]
    spare = room["room_bytes"] - room["needed_bytes"]["high"] + 1  # a byte less than it needs
    words = ("--gpu", "24GB", "--reserve", f"{spare}B", "--junit", "fits.xml", "train.yml", "--json")
    code, out, _ = check(*words, folder=folder)
    document = json.loads(out)
    one = document["checks"][0]

    assert (1, False) == (code, document["fits"])
    assert one["needed_bytes"]["high"] == one["room_bytes"] + 1
    assert ["micro-batch 1 with 2 accumulation steps"] == one["remedy"]["changes"]
    assert ["per_device_train_batch_size: 1", "gradient_accumulation_steps: 2"] == one["remedy"]["settings"]
    assert one["remedy"]["needed_bytes"]["high"] <= one["room_bytes"]
    assert "may not fit" in ET.parse(folder / "fits.xml").find(".//failure").get("message")


def test_several_files_of_which_one_is_bad(folder):
    """The others are answered; the gravest exit code wins; JUnit has an error."""
    code, out, err = check(
        "--gpu", "24GB", "--junit", "fits.xml", "train.yml", "train-typo.yml", folder=folder
    )

    assert 2 == code
    assert "train.yml (trl sft" in out
    assert "nearest known: gradient_checkpointing" in err
    assert ET.parse(folder / "fits.xml").find(".//error") is not None


def test_options_in_place_of_a_file(folder):
    """As of estimate, with --set for the rest; they also go before what a file says."""
    code, out, err = check("--gpu", "24GB", "--model", "config.json", *OPTIONS, "--json", folder=folder)
    config = json.loads(out)["checks"][0]["config"]

    assert 0 == code, err
    assert ("nf4", 1, ["q_proj", "v_proj"]) == (
        config["precision"],
        config["micro_batch"],
        config["lora_targets"],
    )
    words = ("--micro-batch", "1", "--accumulation-steps", "2", "--json")
    code, out, _ = check("--gpu", "24GB", "train.yml", *words, folder=folder)
    assert (0, config) == (code, json.loads(out)["checks"][0]["config"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gpu", "24GB"), "nothing to check"),
        (("--gpu", "rtx-9999", "train.yml"), "Unknown GPU"),
        (("--gpu", "24GB", "none.yml"), "no file none.yml"),
        (("--gpu", "24GB", "config.json"), "no format that is known"),
        (("--gpu", "24GB", "--format", "torchtune", "train.yml"), "Unknown format"),
        (("--gpu", "24GB", "--model", "8B", "--set", "micro_bach=1"), "micro_batch"),
        (("--gpu", "24GB", "--model", "8B", "--set", "precision=fp4"), "nf4"),
    ],
)
def test_bad_input_is_one_clear_message(folder, words, said):
    """Exit code 2, nothing on stdout."""
    code, out, err = check(*words, folder=folder)

    assert (2, "") == (code, out)
    assert said in err


def test_the_pre_commit_hook_checks_what_is_staged(folder):
    """The hook's entry, run as pre-commit does: on the files of a repository that its pattern takes."""
    hook = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    (folder / "other.yml").write_text("services: {}\n")
    (folder / "train-typo.yml").unlink()
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    listed = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    taken = [name for name in listed if re.search(hook["files"], name)]
    entry = shlex.split(hook["entry"])

    assert ["train.yml"] == taken
    assert ["advisor", "check"] == entry
    assert 0 == check(*hook["args"], *taken, folder=folder)[0]
    (folder / "train.yml").write_text((folder / "train.yml").read_text() + "deepspeed: zero3.json\n")
    assert 2 == check(*hook["args"], *taken, folder=folder)[0]
