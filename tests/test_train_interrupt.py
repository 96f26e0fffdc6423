"""Ctrl-C in a real process: exit code 130, nothing half-written, and the same command again ends as if it had not been."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train_parts import plan_for, run, texts, write_rows

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError

STEPS = 30
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from advisor.errors import AdvisorError
from advisor.train.request import RunRequest
from advisor.train.run import run_plan
from train_parts import plan_for

data, output, model, save_steps = sys.argv[1:]
try:
    run_plan(
        plan_for(Path(model), micro_batch=4),
        RunRequest(
            data=Path(data), output=Path(output), model=model, max_steps=30, save_steps=int(save_steps)
        ),
        Console(stderr=True),
    )
except AdvisorError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty short texts."""
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", texts(60))


def interrupted(data, output, save_steps):
    """Start a run, press Ctrl-C after step 12; gives the exit code and what was said."""
    command = [sys.executable, "-c", SCRIPT, str(data), str(output), str(MODEL_FOLDER), str(save_steps)]
    here = Path(__file__).parent
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{here}:{here.parent}", "OMP_NUM_THREADS": "1"},
    )
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("step 12/"):
            process.send_signal(signal.SIGINT)
    return process.wait(timeout=60), said


def test_an_interrupted_run_keeps_its_checkpoint_and_resumes_to_the_same_weights(tmp_path, data):
    """The resumed run ends with the adapter of one that was never interrupted."""
    planned, output = plan_for(MODEL_FOLDER, micro_batch=4), tmp_path / "cut"
    code, said = interrupted(data, output, save_steps=5)

    assert code == 130
    assert "Interrupted" in said
    assert "checkpoint-10 was kept" in said
    assert [path.name for path in output.iterdir()] == ["checkpoints"]
    kept = sorted(p.name for p in (output / "checkpoints").iterdir())
    assert kept == ["checkpoint-10", "checkpoint-5", "run-key.json"]

    with pytest.raises(AdvisorError, match="of another run"):
        run(planned, output, data, MODEL_FOLDER, max_steps=STEPS, save_steps=5, resume=True, seed=9)
    resumed = run(planned, output, data, MODEL_FOLDER, max_steps=STEPS, save_steps=5, resume=True)
    whole = run(planned, tmp_path / "whole", data, MODEL_FOLDER, max_steps=STEPS)

    assert resumed.learned.resumed_at_step == 10
    assert whole.learned.losses == pytest.approx(resumed.learned.losses, abs=1e-3)
    ours = load_file(output / "adapter" / "adapter_model.safetensors")
    theirs = load_file(tmp_path / "whole" / "adapter" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].allclose(theirs[name], atol=1e-4) for name in ours)


def test_without_checkpoints_an_interrupt_leaves_nothing(tmp_path, data):
    """The folder is as good as new, so the same command runs again."""
    code, said = interrupted(data, tmp_path / "cut", save_steps=0)

    assert code == 130
    assert "nothing was kept" in said
    assert not (tmp_path / "cut").exists()
