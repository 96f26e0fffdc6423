"""What several tests of the bench need: requests, and workers that need no card."""

import sys
from pathlib import Path

from advisor.catalog.models import find_model, model_from_config
from advisor.records import config_from_json
from bench.request import Request

WORKER = Path(__file__).parent / "bench_worker.py"
TINY = model_from_config(
    {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "vocab_size": 500,
    },
    "tiny",
)[0]


def stand_in(*how: str) -> tuple[str, ...]:
    """The command of a worker that answers by a rule."""
    return (sys.executable, str(WORKER), *how)


def request(model: str | None = "llama-3.2-1b", **config) -> Request:
    """One config to measure; without a model, of a tiny one."""
    spec = TINY if model is None else find_model(model)[0]
    return Request(model=spec, config=config_from_json(config))
