"""The runner's choice beside trl's defaults: list, measure, report.

    python -m bench.stock list --gpu h100-80gb-sxm -o rows.jsonl            # plans; traces what has no tape yet
    python -m bench.stock measure rows.jsonl -o measured.jsonl --budget 9m  # on that card; goes on where it ended
    python -m bench.stock report measured.jsonl -o reports                  # reports/stock.md and reports/stock.json

`--case NAME` (of several) measures just these, so that two cards of one machine may share the list.
"""

import json
import os
import sys
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer

from advisor.catalog.gpus import find_gpu
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.files import replace_text
from advisor.tape.store import TapeStore
from advisor.units import parse_seconds
from bench.expected import rough_seconds
from bench.pool import WorkerPool
from bench.request import WARMUP_STEPS
from bench.stock.cases import CASES, OURS, STOCK, key_of, request_of, rows_of
from bench.stock.report import document, dumps, line_of, markdown

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False)
Cases = Annotated[list[str] | None, typer.Option("--case", help="Only these.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where it goes.")]
_STOCK_WORKER = (sys.executable, "-m", "bench.stock.worker")


@app.command("list")
def write_list(
    *, output: Output, gpu: Annotated[str, typer.Option()] = "h100-80gb-sxm", case: Cases = None
) -> None:
    """Write what is to be measured on that card."""
    store = TapeStore(on_trace=lambda count: typer.echo(f"tracing {count} steps …", err=True))
    card, rows = find_gpu(gpu)[0], []
    try:
        for each in CASES:
            if case is None or each.name in case:
                rows += list(rows_of(each, card, Estimator(store)))
    except AdvisorError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    finally:
        store.close()
    rows.sort(key=lambda row: row["turn"])  # a budget that ends early has bought the comparison itself
    replace_text(output, "".join(json.dumps(row) + "\n" for row in rows))
    typer.echo(f"{len(rows)} rows", err=True)


@app.command()
def measure(
    rows: Path,
    *,
    output: Output,
    case: Cases = None,
    budget: Annotated[str | None, typer.Option(help="Start no row that would end later, such as 9m.")] = None,
) -> None:
    """Measure what has no row yet, each in a fresh process; a case's stock rows end with the first that runs."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # trl refuses several cards in one process
    done = read(output) if output.exists() else []
    ends = None if budget is None else monotonic() + parse_seconds(budget)
    pools = {STOCK: WorkerPool(_STOCK_WORKER, standby=0, threads=4), OURS: WorkerPool(threads=4)}
    try:
        for row in read(rows):
            if (case and row["case"] not in case) or _is_done(row, done):
                continue
            request = request_of(row)
            if ends is not None and monotonic() + rough_seconds(request, find_gpu(row["gpu"])[0]) > ends:
                continue
            finished = row | pools[row["side"]].measure(request)
            finished.setdefault("warmup_steps", WARMUP_STEPS)
            done.append(finished)
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finished) + "\n")
            typer.echo(line_of(finished), err=True)
    finally:
        for pool in pools.values():
            pool.close()


@app.command()
def report(measured: list[Path], *, output: Output) -> None:
    """Write stock.md and stock.json into the folder."""
    made = document([row for path in measured for row in read(path)])
    replace_text(output / "stock.json", dumps(made))
    replace_text(output / "stock.md", markdown(made))


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _is_done(row: dict[str, Any], done: list[dict[str, Any]]) -> bool:
    """Whether it has a row, other than of a worker that failed; or stock has already run in a larger batch."""
    if row["side"] == STOCK and any(
        one["case"] == row["case"] and one["side"] == STOCK and one["outcome"] == "ok" for one in done
    ):
        return True
    return any(one["outcome"] != "failed" and key_of(one) == key_of(row) for one in done)


if __name__ == "__main__":
    app()
