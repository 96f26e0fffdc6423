"""What several tests of the runner need: plans, a tiny model with random weights, and text."""

import io
import json
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from advisor.demo import MODEL_FOLDER
from advisor.plan.document import Card, Model, PlannedRun
from advisor.records import TrainConfig
from advisor.train.report import RunReport
from advisor.train.request import RunRequest
from advisor.train.run import run_plan

ESTIMATE = {
    "basis": "simulated",
    "static_bytes": 8_000_000,
    "peak_allocated_bytes": {"value": 200_000_000, "low": 190_000_000, "high": 210_000_000},
    "peak_reserved_bytes": {"value": 250_000_000, "low": 240_000_000, "high": 260_000_000},
    "minimum_reserved_bytes": 210_000_000,
    "peak_device_bytes": {"value": 500_000_000, "low": 450_000_000, "high": 550_000_000},
    "phases": [{"phase": "forward", "peak_allocated_bytes": 200_000_000}],
    "at_peak": [],
    "step_seconds": {"value": 0.1, "low": 0.09, "high": 0.11},
    "tokens_per_second": {"value": 2560.0, "low": 2000.0, "high": 3000.0},
}


def plan_for(folder: Path, estimate: dict | None = None, **config) -> PlannedRun:
    """A plan for the model in the folder, of small shape unless told."""
    small = {"micro_batch": 2, "sequence_length": 32, "accumulation_steps": 2}
    return PlannedRun(
        model=Model(
            name="tiny",
            parameters=1_000_000,
            source="a test",
            config=json.loads((folder / "config.json").read_text()),
        ),
        card=Card(
            name="Tesla T4",
            memory_bytes=15 << 30,
            board_bytes=15 << 30,
            usable_bytes=14 << 30,
            context_bytes=1 << 28,
        ),
        config=TrainConfig(**(small | config)),
        estimate=ESTIMATE | (estimate or {}),
    )


def make_tiny_model(folder: Path) -> Path:
    """A Llama of two layers with random weights, in fp32, with the demo's tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=0,
        pad_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL_FOLDER).save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: list[dict]) -> Path:
    """A JSONL file of the rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(count: int) -> list[dict]:
    """Short examples, all different."""
    return [
        {"text": f"entry {n}: a hacker is {n} times a wizard, and {n} bugs are a feature."}
        for n in range(count)
    ]


def run(planned: PlannedRun, output: Path, data: Path, model: Path | str, **request) -> RunReport:
    """A run of three steps, unless told otherwise, that prints into the void."""
    asked = RunRequest(data=data, output=output, model=str(model), **({"max_steps": 3} | request))
    with one_thread():
        return run_plan(planned, asked, Console(file=io.StringIO(), width=100))


@contextmanager
def one_thread():
    """Small models gain nothing from a second thread, and lose much to it where the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
