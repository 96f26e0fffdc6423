"""`advisor plan`: what to run on a card, which card to take, which model it can train."""

import gc
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from advisor.catalog.gpus import all_gpus, find_gpu
from advisor.catalog.models import find_model
from advisor.commands.data import TokenizerPath, decide
from advisor.commands.estimating import open_estimator
from advisor.commands.plan_views import cards_view, compared_view, duration_view, front_view
from advisor.errors import AdvisorError, ExitCode
from advisor.plan.cards import OnCard, cheapest_first, on_cards
from advisor.plan.document import Plan, plan_to_json, save_plan
from advisor.plan.duration import Duration, duration
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.plan.planner import make_plan
from advisor.plan.prices import read_prices
from advisor.plan.room import DEFAULT_RISK
from advisor.records import Allocator, Attention, Checkpointing, GpuSpec, Loss, Method, ModelSpec, Precision
from advisor.render import plan_view
from advisor.units import parse_seconds, parse_size_bytes

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
EPILOG = (
    "advisor plan --gpu 16GB --model 8B -o plan.json  |  "
    "advisor plan --gpu rtx-4090 --model 8B --goal longest-context  |  "
    "advisor plan --gpu 16GB --compare-gpu 24GB --model 8B  |  "
    "advisor plan --gpus all --model 8B --tokens 20000000 --deadline 12h --prices prices.toml  |  "
    "advisor plan --gpu h200 --model ./config.json"
)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is to be trained; None where the user did not say."""

    tokens: int | None
    deadline_seconds: float | None


def plan(  # noqa: PLR0913 - each is a dimension that the user may fix
    gpu: Annotated[
        str,
        typer.Option("--gpu", "--gpus", help="A card (t4, rtx-4090, h200), a size (16GB), several, or all."),
    ],
    model: Annotated[
        str, typer.Option(help="A catalog name, a size (8B), a hub name in the catalog, or a config.json.")
    ],
    goal: Annotated[Goal, typer.Option(help="What the plan is to be best at.")] = Goal.QUALITY,
    method: Annotated[Method | None, typer.Option(help="Default: adapters (LoRA).")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Storage of the base weights.")] = None,
    effective_batch: Annotated[int, typer.Option(min=1, max=4096, help="Sequences a step.")] = 16,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Sequences at a time.")] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(
            "--sequence-length", "--max-seq-length", min=2, help="Default: what --data asks for, or 2048."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="What to train on: its real lengths decide.")] = None,
    tokenizer: TokenizerPath = None,
    checkpointing: Annotated[Checkpointing | None, typer.Option()] = None,
    loss: Annotated[Loss | None, typer.Option(help="chunked is TRL's, stock transformers' own.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="transformers' name, such as adamw_8bit.")] = None,
    attention: Annotated[Attention | None, typer.Option()] = None,
    allocator: Annotated[Allocator | None, typer.Option(help="Default: expandable where it helps.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Default: 16.")] = None,
    lora_targets: Annotated[str | None, typer.Option(help="all-linear, or names with commas.")] = None,
    trainable_layers: Annotated[int, typer.Option(min=1, help="For last-layers.")] = 4,
    reserve: Annotated[str, typer.Option(help="Memory for a display or others, such as 1GB.")] = "0B",
    evaluation: Annotated[
        bool, typer.Option(help="Whether evaluating on held-out data must fit, too.")
    ] = True,
    risk: Annotated[
        float, typer.Option(help="Chance that it needs more than the card gives.")
    ] = DEFAULT_RISK,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens to train: gives time and energy.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="The same in full sequences.")] = None,
    epochs: Annotated[float, typer.Option(min=0.001, help="How often each is seen.")] = 1.0,
    deadline: Annotated[str | None, typer.Option(help="With several cards: 12h. Needs --tokens.")] = None,
    prices: Annotated[Path | None, typer.Option(help="TOML: [per_hour] rtx-4090 = 0.35")] = None,
    compare_gpu: Annotated[str | None, typer.Option(help="What another card would gain.")] = None,
    thorough: Annotated[
        bool, typer.Option(help="Vary also loss, optimizer, rank and modules; traces many steps.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Save the plan.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with a picture of the choices.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Recommend a configuration for a card and a model, with reasons and what was rejected.

    With several cards or all: the cheapest or smallest that will do. `advisor models` answers for all models.
    """
    gc.disable()  # a plan is over in a second; collecting what it makes takes a third of that
    spec, assumed_model = find_model(model)
    if micro_batch is not None and effective_batch % micro_batch:
        raise AdvisorError(
            f"A micro-batch of {micro_batch} does not divide the effective batch of {effective_batch}.",
            fix="choose a divisor, or another --effective-batch",
        )
    decided = decide(data, tokenizer, model, spec, sequence_length)
    options = PlanOptions(
        effective_batch=effective_batch,
        sequence_length=decided.sequence_length,
        method=method,
        precision=precision,
        checkpointing=checkpointing,
        micro_batch=micro_batch,
        loss=loss,
        optimizer=optimizer,
        attention=attention,
        allocator=allocator,
        lora_rank=lora_rank,
        lora_targets=None if lora_targets is None else _targets(lora_targets),
        trainable_layers=trainable_layers,
        reserve_bytes=parse_size_bytes(reserve),
        evaluates=evaluation,
        goal=goal,
        risk=risk,
        thorough=thorough,
    )
    amount = _amount(tokens, examples, epochs, decided.sequence_length, deadline)
    if gpu == "all" or "," in gpu:
        if output or html or compare_gpu:
            raise AdvisorError(
                "-o, --html and --compare-gpu are for a plan for one card.", fix="name one card"
            )
        _say_cards(spec, _cards(gpu), options, amount, prices, as_json=as_json)
        return
    if prices is not None or deadline is not None:
        raise AdvisorError("--prices and --deadline choose among cards.", fix="give --gpus all, or several")
    card, assumed_card = find_gpu(gpu)
    command = run_command(sys.argv[1:], spec.hub_name or model, output, data)
    with open_estimator() as estimator:
        made = make_plan(
            spec, card, options, estimator, assumed=(*assumed_card, *assumed_model), command=command
        )
        made = decided.tell(made)
        other_card = find_gpu(compare_gpu)[0] if compare_gpu else None
        other = None if other_card is None else make_plan(spec, other_card, options, estimator)
    if output is not None:
        save_plan(made, output, force=force)
        err.print(f"saved {output}")
    if html is not None:
        from advisor.plan.page import save_page

        save_page(made, html, force=force)
        err.print(f"saved {html}")
    took = _duration(made, card, amount)
    if as_json:
        print_json(_document(made, other, took))
        return
    show_plan(made, took)
    if other is not None:
        out.print(compared_view(made, other))


def _document(made: Plan, other: Plan | None, took: Duration | None) -> dict[str, Any]:
    document = plan_to_json(made)
    if other is not None:
        document["compared"] = plan_to_json(other)
    if took is not None:
        document["duration"] = _took(took)
    return document


def _took(took: Duration) -> dict[str, Any]:
    return {
        "tokens": took.tokens,
        "steps": took.steps,
        "seconds": took.seconds.to_json(),
        "energy_kwh": took.energy_kwh,
        "energy_basis": took.energy_basis,
    }


def show_plan(made: Plan, took: Duration | None = None) -> None:
    """The plan as a terminal shows it; the last line is to be pasted."""
    out.print(plan_view(made))
    out.print(front_view(made))
    if took is not None:
        out.print(duration_view(took))
    out.print("\nRun it", style="bold")
    out.print(f"  {made.command}", style="bold green", soft_wrap=True)


def run_command(asked: list[str], model: str, saved: Path | None, data: Path | None = None) -> str:
    """One line to paste: it makes the plan file, unless it is saved already, and runs it."""
    file = shlex.quote(str(saved or "plan.json"))
    given = shlex.quote(str(data or "train.jsonl"))
    run_it = f"advisor run {file} --model {shlex.quote(model)} --data {given} --output run"
    return run_it if saved else f"advisor {shlex.join(asked)} -o {file} && {run_it}"


def print_json(document: dict[str, Any], indent: int | None = 2) -> None:
    """One document on stdout."""
    sys.stdout.write(json.dumps(document, indent=indent) + "\n")


def _targets(text: str) -> str | tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise AdvisorError("--lora-targets names no module.", fix="write all-linear, or q_proj,v_proj")
    return names[0] if names == ("all-linear",) else names


def _amount(
    tokens: int | None, examples: int | None, epochs: float, length: int, deadline: str | None
) -> Amount:
    if tokens is not None and examples is not None:
        raise AdvisorError("--tokens and --examples both say how much to train.", fix="give one of them")
    if deadline is not None and tokens is None and examples is None:
        raise AdvisorError("--deadline needs to know how much to train.", fix="add --tokens or --examples")
    once = tokens if tokens is not None else examples and examples * length
    return Amount(
        tokens=None if once is None else round(once * epochs),
        deadline_seconds=None if deadline is None else parse_seconds(deadline),
    )


def _duration(made: Plan, card: GpuSpec, amount: Amount) -> Duration | None:
    from advisor.profiles.store import known_rows

    if amount.tokens is None or made.estimate.step_seconds is None:
        return None
    return duration(amount.tokens, made.config, made.estimate.step_seconds, card.slug, known_rows())


def _cards(text: str) -> list[GpuSpec]:
    """Every NVIDIA card of the catalog, or those that are named."""
    if text != "all":
        return [find_gpu(name)[0] for name in text.split(",") if name.strip()]
    return [gpu for gpu in all_gpus() if gpu.vendor == "nvidia" and not gpu.unified]


def _say_cards(  # noqa: PLR0913 - what was asked
    model: ModelSpec,
    cards: Sequence[GpuSpec],
    options: PlanOptions,
    amount: Amount,
    price_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from advisor.profiles.store import known_rows

    prices = None if price_file is None else read_prices(price_file)
    with open_estimator() as estimator:
        answers = list(
            on_cards(model, cards, options, estimator, tokens=amount.tokens, prices=prices, rows=known_rows())
        )
    will_do = cheapest_first(answers, amount.deadline_seconds)
    if as_json:
        print_json(
            {"schema": 1, "kind": "cards", "model": model.name, "cards": [_card(a, will_do) for a in answers]}
        )
    else:
        currency = prices.currency if prices else ""
        out.print(cards_view(model.name, will_do, answers, currency, amount.deadline_seconds))
    if not will_do:
        raise typer.Exit(ExitCode.NO)


def _card(one: OnCard, will_do: Sequence[OnCard]) -> dict[str, Any]:
    found = one.found
    return {
        "gpu": one.gpu.slug,
        "place": will_do.index(one) + 1 if one in will_do else None,
        "why_not": one.why_not,
        "config": found and found.config.to_json(),
        "needed_bytes": found and found.needed_bytes,
        "tokens_per_second": found and found.tokens_per_second,
        "duration": one.took and _took(one.took),
        "cost": one.cost,
    }
