"""How long a trace takes, once torch is imported: `pytest bench/test_trace_speed.py`."""

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from advisor.records import Checkpointing, Loss, Precision, TrainConfig
from advisor.simulate.trace import trace
from advisor.tape.file import tape_from_bytes, tape_to_bytes
from advisor.tape.record import Tape, unroll
from advisor.tape.regime import regime_of
from advisor.tape.target import Target

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
CONFIGS = {
    "nf4": TrainConfig(
        precision=Precision.NF4,
        checkpointing=Checkpointing.NON_REENTRANT,
        loss=Loss.CHUNKED,
        micro_batch=4,
        accumulation_steps=2,
    ),
    "bf16": TrainConfig(),
}


def _traced(config: TrainConfig) -> Tape:
    return trace(LLAMA_8B, config, Target((9, 0), 132), regime_of(config, LLAMA_8B))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_trace(benchmark: BenchmarkFixture, config: TrainConfig) -> None:
    """From the config to the tape."""
    tape = benchmark.pedantic(_traced, (config,), rounds=5, warmup_rounds=1)  # type: ignore[no-untyped-call]

    assert tape.layers == 32


def test_import(benchmark: BenchmarkFixture) -> None:
    """What a tracing process needs before its first trace."""
    command = [sys.executable, "-c", "import advisor.simulate.trace"]

    benchmark.pedantic(subprocess.run, (command,), {"check": True}, rounds=3)  # type: ignore[no-untyped-call]


def test_read(benchmark: BenchmarkFixture) -> None:
    """From a tape's bytes to the tape."""
    data = tape_to_bytes(_traced(CONFIGS["nf4"]))
    benchmark.extra_info["bytes"] = len(data)

    assert benchmark(tape_from_bytes, data).layers == 32


def test_unroll(benchmark: BenchmarkFixture) -> None:
    """From the tape to the events of all 32 layers."""
    tape = _traced(CONFIGS["nf4"])

    assert len(benchmark(unroll, tape)) > len(tape.events)
