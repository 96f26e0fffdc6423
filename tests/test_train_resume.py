"""kill -9 at any moment: the same command again ends as if nothing had been, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train_parts import plan_for, run

from advisor.errors import AdvisorError
from advisor.train import checkpoints

REQUEST = {
    "max_steps": 6,
    "save_steps": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "evaluate_steps": 2,
    "patience": 9,
}
KILLS = 20


class Runs:
    """Runs in processes of their own, which start in milliseconds, for they are forks."""

    def __init__(self, tiny, data, errors):
        here = Path(__file__).parent
        self.tiny, self.data, self.errors = tiny, data, errors
        self.process = subprocess.Popen(
            [sys.executable, str(here / "train_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors.open("w"),
            text=True,
            env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}", "OMP_NUM_THREADS": "1"},
        )

    def run(self, output, *, kill_at=0, kill_after=None):
        """The same command, perhaps killed; gives how it ended."""
        asked = {"output": str(output), "data": str(self.data), "model": str(self.tiny), "request": REQUEST}
        asked |= {"kill_at": kill_at, "kill_after": kill_after}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def runs(tiny, data, tmp_path_factory):
    """A worker, ended afterwards."""
    made = Runs(tiny, data, tmp_path_factory.mktemp("worker") / "errors")
    yield made
    made.close()


def outcome(output):
    """All that a run leaves behind that must not depend on its luck."""
    document = json.loads((output / "run.json").read_text())["training"]
    document.pop("resumed_at_step")
    document.pop("seconds")
    weights = load_file(output / "adapter" / "adapter_model.safetensors")
    return document, {name: tensor.tolist() for name, tensor in weights.items()}


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(tmp_path, runs):
    """At file operations of every kind and at moments between them: one curve, one adapter, nothing torn."""
    whole = runs.run(tmp_path / "whole")
    assert (whole["signal"], whole["code"]) == (0, 0), runs.errors.read_text()
    assert whole["operations"] > 50
    expected, kills, finished, resumed = outcome(tmp_path / "whole"), 0, 0, 0
    luck = random.Random(6)
    while kills < KILLS or (tmp_path / f"cut-{finished}").exists():
        output = tmp_path / f"cut-{finished}"
        at_operation = {"kill_at": luck.randrange(1, whole["operations"] * 2 // 3)}
        at_moment = {"kill_after": luck.uniform(0, whole["seconds"])}
        how = (at_operation, at_operation, at_moment)[kills % 3] if kills < KILLS else {}
        ended = runs.run(output, **how)
        kills += ended["signal"] == signal.SIGKILL
        if (output / "run.json").exists():
            finished += 1
            resumed += json.loads((output / "run.json").read_text())["training"]["resumed_at_step"] > 0
            assert expected == outcome(output)
        else:
            assert ended["signal"] == signal.SIGKILL, runs.errors.read_text()

    assert kills == KILLS
    assert finished >= 2
    assert resumed >= 1
    assert "" == runs.errors.read_text()


def test_a_torn_checkpoint_is_skipped_for_the_one_before_it(tmp_path, runs, tiny, data):
    """The run says so, goes on from there, and ends the same."""
    output = tmp_path / "cut"
    runs.run(output)
    expected = outcome(output)
    (output / "run.json").unlink()  # as if it had been killed while it wrote its results
    for name in ("rng_state.pth", "optimizer.pt"):
        torn = output / "checkpoints" / "checkpoint-6" / name
        torn.write_bytes(torn.read_bytes()[:-1] + b"~")  # of the same size
    report = run(plan_for(tiny, lora_dropout=0.1), output, data, tiny, **REQUEST)

    assert any("checkpoint-6 is torn and is skipped" in note for note in report.notes)
    assert report.learned.resumed_at_step == 4
    assert expected == outcome(output)


def test_another_run_does_not_go_on_from_it(tmp_path, runs, tiny, data):
    """Another rate, other data, another seed: refused, with what differs; --force begins anew."""
    operations = runs.run(tmp_path / "count")["operations"]
    runs.run(tmp_path / "cut", kill_at=operations * 2 // 3)
    assert checkpoints.last_checkpoint(tmp_path / "cut") is not None
    planned = plan_for(tiny, lora_dropout=0.1)
    others = {
        "learning rate": REQUEST | {"learning_rate": 2e-2},
        "seed": REQUEST | {"seed": 3},
        "data": REQUEST | {"evaluation_data": data},
        "steps": REQUEST | {"max_steps": 7},
    }
    for word, request in others.items():
        with pytest.raises(AdvisorError, match="of another run") as caught:
            run(planned, tmp_path / "cut", data, tiny, **request)
        assert word in caught.value.why
    anew = run(planned, tmp_path / "cut", data, tiny, **(REQUEST | {"seed": 3, "force": True}))

    assert anew.learned.resumed_at_step == 0
