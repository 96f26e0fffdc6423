"""The process that traces for a parent without torch: one line in, one line out, and not a word beside."""

import json
import subprocess
import sys

from simulate_parts import H200, facts, traced

from advisor.records import Checkpointing, Loss, Precision, TrainConfig
from advisor.tape.file import load_tape

MODEL = facts(num_hidden_layers=5)
# Each makes some library talk: int8 of casts, TRL of the tokenizer, reentrant checkpoints of their future.
CONFIGS = [
    TrainConfig(precision=Precision.INT8, checkpointing=Checkpointing.REENTRANT),
    TrainConfig(precision=Precision.NF4, loss=Loss.CHUNKED, checkpointing=Checkpointing.NON_REENTRANT),
]


def test_it_answers_each_line_and_says_nothing_else(tmp_path):
    """Tapes for what can be traced, the error for what can't, and the next request is served as ever."""
    requests = [_request(str(n), MODEL, config, tmp_path) for n, config in enumerate(CONFIGS)]
    requests.insert(1, _request("bad", facts("bert"), TrainConfig(), tmp_path))
    (tmp_path / "file").write_text("")
    requests.append(_request("file/x", facts(num_hidden_layers=1), TrainConfig(), tmp_path))
    lines = [*map(json.dumps, requests), "no JSON", "", '{"id": "empty"}', "[]"]
    done = subprocess.run(
        [sys.executable, "-m", "advisor.simulate.worker"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]

    assert [a["id"] for a in answers] == ["0", "bad", "1", "file/x", None, "empty", None]
    assert [a["ok"] for a in answers] == [True, False, True, False, False, False, False]
    assert answers[1]["error"]["what"] == "transformers has no causal language model for 'bert'."
    assert set(answers[1]["error"]) == {"what", "why", "fix", "exit_code"}
    assert answers[3]["error"]["what"].startswith("Can't write")
    assert done.stderr == ""
    for number, config in enumerate(CONFIGS):
        assert load_tape(tmp_path / f"{number}.tape") == traced(MODEL, config)


def _request(identifier, model, config, folder):
    return {
        "id": identifier,
        "facts": model,
        "config": config.to_json(),
        "compute_capability": list(H200.compute_capability),
        "multiprocessors": H200.multiprocessors,
        "path": str(folder / f"{identifier}.tape"),
    }
