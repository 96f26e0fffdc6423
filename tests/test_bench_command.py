"""`advisor bench` from the command line, with workers that need no card: what is kept, skipped, refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_parts import stand_in

from advisor.profiles.share import merge_file
from advisor.profiles.store import read_rows

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
import bench.pool
bench.pool.COMMAND = {command!r}
from advisor.cli import main
sys.argv[0] = "advisor"
main()
"""
SWEEP = """
schema = 1
about = "four batches"
[[rows]]
models = ["llama-3.2-1b"]
precision = "nf4"
loss = "chunked"
accumulation_steps = 2
micro_batch = [1, 2, 3, 4]
"""  # what is predicted has tapes that ship


@pytest.fixture
def sweep(tmp_path):
    """A sweep of four configs."""
    path = tmp_path / "mine.toml"
    path.write_text(SWEEP)
    return path


def start(*words, how=(), folder):
    """`advisor bench …` as a process, with stand-in workers."""
    script = SCRIPT.format(command=stand_in(*how))
    command = [sys.executable, "-c", script, "bench", *map(str, words), "--profiles", str(folder)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )


def bench(*words, how=(), folder):
    """Exit code, stdout and stderr of `advisor bench … --try-misfits`."""
    process = start(*words, "--try-misfits", how=how, folder=folder)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_rows_are_kept_and_not_measured_twice(sweep, tmp_path):
    """A second run has nothing to do; --again measures anew."""
    folder = tmp_path / "profiles"
    code, _, err = bench(sweep, folder=folder)
    rows = list(read_rows(folder))

    assert code == 0, err
    assert [1, 2, 3, 4] == sorted(row.config.micro_batch for row in rows)
    assert {"h200"} == {row.card for row in rows}
    assert {"ok"} == {row.outcome.value for row in rows}
    assert all(row.power.watts_mean == 500.0 and row.warmup_steps == 1 for row in rows)

    assert "4 have a row already" in bench(sweep, folder=folder)[2]
    assert len(list(read_rows(folder))) == 4
    bench(sweep, "--again", "--limit", "1", folder=folder)
    assert len(list(read_rows(folder))) == 5


def test_a_killed_worker_is_a_row_and_is_tried_again(sweep, tmp_path):
    """The second batch kills its worker; the others are measured, and a later run mends it."""
    folder = tmp_path / "profiles"
    code, _, err = bench(sweep, how=("--dies",), folder=folder)
    outcomes = {row.config.micro_batch: row.outcome.value for row in read_rows(folder)}

    assert code == 0, err
    assert {1: "ok", 2: "failed", 3: "ok", 4: "ok"} == outcomes
    bench(sweep, folder=folder)
    again = [row.outcome.value for row in read_rows(folder) if row.config.micro_batch == 2]
    assert ["failed", "ok"] == again


def test_several_at_a_time_are_marked_and_not_timed(sweep, tmp_path):
    """Memory of the process counts; speed, power and the card's own figure do not."""
    folder = tmp_path / "profiles"
    bench(sweep, "--parallel", "2", folder=folder)
    rows = list(read_rows(folder))

    assert len(rows) == 4
    assert all(row.shared and row.tokens_per_second is None and row.power is None for row in rows)
    assert {None} == {row.peak_device_bytes for row in rows}
    assert all(row.peak_allocated_bytes for row in rows)


def test_the_smallest_cap_is_in_the_row_and_its_trials_are_rows(sweep, tmp_path):
    """As the stand-in's rule says, within the resolution."""
    folder = tmp_path / "profiles"
    bench(sweep, "--micro-batches", "4", "--find-cap", folder=folder)
    rows = list(read_rows(folder))
    (free,) = [row for row in rows if row.cap_bytes is None]
    cap = free.smallest_cap

    assert 0 <= cap.with_retries_bytes - 1.04 * free.peak_allocated_bytes <= cap.resolution_bytes
    assert {"ok", "oom"} == {row.outcome.value for row in rows if row.cap_bytes is not None}


def test_a_card_with_another_process_is_refused(sweep, tmp_path):
    """Unless asked for: then its rows are marked."""
    folder = tmp_path / "profiles"
    code, _, err = bench(sweep, how=("--shared",), folder=folder)

    assert code == 3
    assert "Another process uses the NVIDIA H200" in err
    assert "--shared" in err
    assert not list(read_rows(folder))


def test_without_a_card_nothing_is_measured(sweep, tmp_path):
    """Real workers here: an error that names the dry run, and exit code 3."""
    command = [sys.executable, "-m", "advisor.cli", "bench", str(sweep), "--profiles", str(tmp_path / "p")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)

    assert run.returncode == 3
    assert "There is no CUDA card to measure." in run.stderr
    assert "--dry-run" in run.stderr


def test_ctrl_c_keeps_what_has_finished(sweep, tmp_path):
    """The second worker hangs; exit code 130, the first row is there, a rerun goes on."""
    folder = tmp_path / "profiles"
    process = start(sweep, "--try-misfits", how=("--hangs",), folder=folder)
    deadline = time.monotonic() + 30
    while not list(read_rows(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    kept = list(read_rows(folder))

    assert process.returncode == 130, err
    assert 1 <= len(kept) < 4
    assert "the same command goes on" in err
    bench(sweep, folder=folder)
    assert len(list(read_rows(folder))) == 4


def test_what_was_measured_can_be_shared(sweep, tmp_path):
    """The exported file merges elsewhere, every row once."""
    folder, shared, elsewhere = tmp_path / "profiles", tmp_path / "mine.jsonl", tmp_path / "elsewhere"
    code, _, err = bench(sweep, "--export", shared, folder=folder)

    assert code == 0, err
    assert merge_file(shared, elsewhere).added == 4
    assert {"contributed"} == {row.provenance for row in read_rows(elsewhere)}
    code, _, err = bench(sweep, "--export", shared, folder=folder)
    assert code == 2
    assert "exists" in err


def test_json_prints_the_rows(sweep, tmp_path):
    """One line each, nothing else on stdout."""
    _, out, _ = bench(sweep, "--json", "--limit", "2", folder=tmp_path / "profiles")
    rows = [json.loads(line) for line in out.splitlines()]

    assert len(rows) == 2
    assert {"ok"} == {row["outcome"] for row in rows}


def test_a_dry_run_touches_nothing(sweep, tmp_path):
    """It predicts for a card that is not here; what it prints can be given back as a sweep."""
    folder = tmp_path / "profiles"
    process = start(sweep, "--dry-run", "--gpu", "rtx-4090", "--json", "--limit", "2", folder=folder)
    out, err = process.communicate(timeout=60)
    rows = [json.loads(line) for line in out.splitlines()]

    assert process.returncode == 0, err
    assert len(rows) == 2
    assert all(row["predicted_bytes"] > 2 << 30 for row in rows)
    assert not folder.exists()
    again = tmp_path / "again.jsonl"
    again.write_text(out)
    assert bench(again, folder=folder)[0] == 0
    assert len(list(read_rows(folder))) == 2
