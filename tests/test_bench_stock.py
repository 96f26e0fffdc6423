"""Beside trl's defaults: what is listed, that trl's own trainer is what runs, and what the report makes of the rows."""

import json

import pytest
from bench_parts import request
from typer.testing import CliRunner

import bench.stock.__main__ as command
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.profiles.folders import profiles_folder
from advisor.records import Loss, Method, Precision, config_from_json
from bench.pool import WorkerPool
from bench.stock import cases
from bench.stock.__main__ import read
from bench.stock.cases import CASES, Case, key_of, rows_of
from bench.stock.report import document, dumps, markdown


def _row(side, variant, speed, peak, **more):
    config = {"method": "lora", "precision": "nf4", "micro_batch": 8, "accumulation_steps": 2}
    told = {"case": CASES[0].name, "gpu": "h100-80gb-sxm", "model": CASES[0].model, "cap_bytes": 1 << 34}
    seconds = 16 * 2048 / speed
    answer = {"outcome": "ok", "reason": "", "warmup_steps": 1, "step_seconds": [9.0, seconds, seconds]}
    memory = {"peak_reserved_bytes": peak, "static_bytes": 6 << 30, "shared": False}
    return told | config | {"turn": 0, "side": side, "variant": variant} | answer | memory | more


def test_rows_keep_the_batch_and_the_question(monkeypatch):
    """Both sides train 16 sequences a step of what the case names; a config that two wishes lead to is listed once."""

    def planned(case, cap, gpu, estimator, fixed):
        loss = fixed.get("loss", Loss.LIGER).value
        return config_from_json(
            {"precision": "nf4", "micro_batch": 4, "accumulation_steps": 4, "loss": loss}
        ), {}

    monkeypatch.setattr(cases, "_planned", planned)
    case = Case(name="x", model="llama-3.2-1b", method=Method.LORA, precision=Precision.NF4, cap="16GB")
    rows = list(rows_of(case, find_gpu("h100-80gb-sxm")[0], None))

    assert [row["micro_batch"] for row in rows if row["side"] == "stock"] == [8, 4, 2, 1]
    assert [row["variant"] for row in rows if row["side"] == "ours"] == ["plan", "chunked loss", "stock loss"]
    assert {config_from_json(row).effective_batch for row in rows} == {16}
    assert {row["precision"] for row in rows} == {"nf4"}
    assert len({key_of(row) for row in rows}) == len(rows) == 7
    assert len({row["cap_bytes"] for row in rows}) == 1 < rows[0]["cap_bytes"]


def test_the_models_of_the_cases_are_known():
    """Four cases, each of a model in the catalog."""
    assert len(CASES) == 4
    assert all(find_model(case.model)[0].name == case.model for case in CASES)


def test_trls_own_trainer_runs_with_its_defaults(monkeypatch):
    """In a fresh process without a card; its steps are timed as the runner's are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pool = WorkerPool(command._STOCK_WORKER, standby=0)
    try:
        answer = pool.measure(request(None, sequence_length=32, precision="nf4", micro_batch=2))
    finally:
        pool.close()

    assert (answer["outcome"], answer["reason"]) == ("ok", "")
    assert len(answer["step_seconds"]) == 4
    assert all(0 < second < 60 for second in answer["step_seconds"])


def test_stock_stops_at_the_first_that_runs_and_a_second_call_measures_nothing(tmp_path, monkeypatch):
    """A smaller micro-batch is only for where the larger one ran out; what has a row is not measured again."""
    asked = []

    class Pool:
        def __init__(self, command=None, **_):
            self.stock = command is not None

        def measure(self, request):
            asked.append((self.stock, request.config.micro_batch))
            full = self.stock and request.config.micro_batch == 8
            return {
                "outcome": "oom" if full else "ok",
                "reason": "",
                "step_seconds": [1.0] * 4,
                "warmup_steps": 1,
            }

        def close(self):
            pass

    monkeypatch.setattr(command, "WorkerPool", Pool)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    rows, out = tmp_path / "rows.jsonl", tmp_path / "measured.jsonl"
    sizes = [("stock", 8), ("stock", 4), ("stock", 2), ("ours", 8)]
    lines = [_row(side, f"micro-batch {n}", 1.0, 1) | {"micro_batch": n} for side, n in sizes]
    asks = ("side", "case", "gpu", "model", "cap_bytes", "turn", "variant", "micro_batch", "precision")
    rows.write_text("".join(json.dumps({k: line[k] for k in asks}) + "\n" for line in lines))

    for _ in range(2):
        done = CliRunner().invoke(command.app, ["measure", str(rows), "-o", str(out)])
        assert done.exit_code == 0, done.output

    assert asked == [(True, 8), (True, 4), (False, 8)]
    assert len(out.read_text().splitlines()) == 3


def test_the_report_compares_the_plan_with_the_stock_run():
    """Times its speed, its share of the memory above the weights; other wishes are rows, the fastest first."""
    made = document(
        [
            _row("stock", "micro-batch 8", 8000, 18 << 30, outcome="oom", reason="out of memory"),
            _row("stock", "micro-batch 4", 8000, 16 << 30),
            _row("ours", "plan", 12000, 11 << 30, predicted_tokens_per_second=11900.0),
            _row("ours", "chunked loss", 13000, 12 << 30),
        ]
    )
    (case,) = made["cases"]
    page = markdown(made)

    assert case["times_stock"] == pytest.approx(1.5)
    assert case["above_weights_share"] == pytest.approx(0.5)
    assert [row["variant"] for row in case["ours"]] == ["chunked loss", "plan"]
    assert "| 8,000 | 12,000 | 1.50 | 13,000 | 1.62 | 16.00 GiB | 11.00 GiB | 50% of stock's |" in page
    assert "oom" in page


def test_a_case_whose_stock_run_is_missing_has_no_ratio():
    """Nothing is made up."""
    (case,) = document([_row("ours", "plan", 12000, 11 << 30)])["cases"]

    assert case["times_stock"] is None


def test_the_shipped_report_is_what_the_rows_say():
    """`python -m bench.stock report profiles/stock/h100-80gb-sxm.jsonl -o reports` writes it; nobody edits it."""
    made = document(read(profiles_folder() / "stock" / "h100-80gb-sxm.jsonl"))
    reports = profiles_folder().parent / "reports"

    assert dumps(made) == (reports / "stock.json").read_text()
    assert markdown(made) == (reports / "stock.md").read_text()
