"""Is the plan the best? Write a list to measure, or judge the rows that were measured.

    python -m bench.contest --gpu h100-80gb-sxm --cap 16GB --model llama-3.1-8b --alternatives 20 -o rows.jsonl
    advisor bench rows.jsonl                                  # on that card
    python -m bench.contest --judge profiles                  # print the verdicts
    python -m bench.contest --judge profiles -o reports       # write reports/contest.md and reports/contest.json

`--cap 16GB` is what a card of that size surely gives to the allocator, `--cap 14GiB` just so many bytes. Several
`--model` and `--cap` make a contest each. Steps whose tape is not at hand are traced first, which takes minutes.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.files import replace_text
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.profiles.store import read_rows
from advisor.tape.store import TapeStore
from advisor.units import gib, parse_size_bytes, seconds
from bench.contest.grid import Contest, make_contest
from bench.contest.judge import fields_of, judged
from bench.contest.report import dumps, markdown, to_json
from bench.expected import rough_seconds
from bench.request import label

_SECONDS_A_ROW = 12.0


def main(  # noqa: PLR0913 - each is part of the question
    *,
    gpu: Annotated[str, typer.Option(help="The card that will measure.")] = "h100-80gb-sxm",
    cap: Annotated[list[str] | None, typer.Option(help="16GB (a card's size or name) or 14GiB.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="As `advisor plan` takes it.")] = None,
    goal: Annotated[Goal, typer.Option(help="What the plan is to be best at.")] = Goal.FASTEST,
    alternatives: Annotated[int, typer.Option(min=1, help="Rivals of each plan.")] = 20,
    effective_batch: Annotated[int, typer.Option(min=1)] = 16,
    sequence_length: Annotated[int, typer.Option(min=20)] = 2048,
    seconds_a_row: Annotated[
        float, typer.Option(min=1.0, help="Of timed and warm-up steps.")
    ] = _SECONDS_A_ROW,
    judge: Annotated[Path | None, typer.Option(help="Judge the rows of this folder.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file; with --judge a folder.")
    ] = None,
) -> None:
    """Write a list of a plan and its rivals, or judge what was measured."""
    store = TapeStore(on_trace=lambda count: typer.echo(f"tracing {count} steps …", err=True))
    options = PlanOptions(
        goal=goal, effective_batch=effective_batch, sequence_length=sequence_length, evaluates=False
    )  # what is measured is training alone
    try:
        if judge is not None:
            _judge(judge, output, Estimator(store))
            return
        card = find_gpu(gpu)[0]
        contests = [
            make_contest(
                find_model(name)[0],
                card,
                cap_bytes(size),
                Estimator(store),
                options=options,
                rivals=alternatives,
                seconds_a_row=seconds_a_row,
            )
            for name in model or ["8B"]
            for size in cap or ["16GB"]
        ]
    except AdvisorError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    finally:
        store.close()
    for contest in contests:
        _tell(contest)
    requests = [request for contest in contests for request in (contest.plan, *contest.rivals)]
    took = sum(rough_seconds(request, card) for request in requests)
    typer.echo(f"{len(requests)} rows, about {seconds(took)} on {card.name}", err=True)
    text = "".join(json.dumps(row) + "\n" for row in rows_of(contests, card.slug))
    if output is None:
        typer.echo(text, nl=False)
    else:
        replace_text(output, text)


def cap_bytes(text: str) -> int:
    """`16GB` or a card: what that gives to the allocator; `14GiB`: just so many.

    Raises: AdvisorError where it is neither.
    """
    binary = text.strip().lower().endswith(("gib", "mib"))
    return parse_size_bytes(text) if binary else usable_bytes(find_gpu(text)[0])


def rows_of(contests: Iterable[Contest], gpu: str) -> Iterator[dict[str, Any]]:
    """The list, as `advisor bench FILE.jsonl` reads it; a plan's id ends in its goal, a rival's in a number."""
    for contest in contests:
        named = [(contest.goal.value, contest.plan), *enumerate(contest.rivals, 1)]
        for name, request in named:
            yield {
                "id": f"{contest.model.name}-{contest.cap_bytes}-{name}",
                "model": contest.model.name,
                "gpu": gpu,
                **request.config.to_json(),
                "cap_bytes": request.cap_bytes,
                "predicted_bytes": request.predicted_bytes,
            }


def _tell(contest: Contest) -> None:
    typer.echo(
        f"{gib(contest.cap_bytes)}, {contest.sequences_a_step} sequences a step: {label(contest.plan)}; "
        f"{len(contest.rivals)} rivals",
        err=True,
    )


def _judge(folder: Path, output: Path | None, estimator: Estimator) -> None:
    fields = fields_of(read_rows(folder))
    verdicts = [(field, tuple(judged(field, estimator))) for field in fields]
    if output is None:
        typer.echo(markdown(verdicts), nl=False)
        return
    replace_text(output / "contest.md", markdown(verdicts))
    replace_text(output / "contest.json", dumps(to_json(verdicts)))


if __name__ == "__main__":
    typer.run(main)
