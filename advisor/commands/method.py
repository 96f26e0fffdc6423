"""`advisor method`: prompting, retrieval, adapters or whole weights, with reasons and what would change the answer."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.prompt import IntPrompt, Prompt
from rich.table import Table
from rich.text import Text

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.commands.estimating import open_estimator
from advisor.errors import AdvisorError, ExitCode
from advisor.method.decide import Advice, checked, decide
from advisor.method.fits import Fit, as_answers, fits
from advisor.method.rules import Question, Rule, questions
from advisor.terminal import columns, heading

EPILOG = (
    "advisor method  |  advisor method --goal behaviour --examples 2000 --gpu t4 --model 8B  |  "
    "advisor method --goal knowledge --changes weekly --json"
)
SCHEMA = 1  # 1: first
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_NAMES = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning", "last-layers": "the last layers"}


def method_command(  # noqa: PLR0913 - one a question
    goal: Annotated[str | None, typer.Option(help="behaviour, format, knowledge or both.")] = None,
    changes: Annotated[str | None, typer.Option(help="rarely, monthly, weekly or daily.")] = None,
    examples: Annotated[int | None, typer.Option(min=0, help="How many good ones there are.")] = None,
    base: Annotated[str | None, typer.Option(help="With a good prompt: well, nearly or fails.")] = None,
    shift: Annotated[str | None, typer.Option(help="Near or far from what the base has read.")] = None,
    latency: Annotated[str | None, typer.Option(help="loose, or tight: no long prompts.")] = None,
    budget: Annotated[str | None, typer.Option(help="none, one-card, large-card or cluster.")] = None,
    private: Annotated[str | None, typer.Option(help="yes: the data must stay in the house.")] = None,
    adapters: Annotated[str | None, typer.Option(help="no: not even merged ones.")] = None,
    gpu: Annotated[str | None, typer.Option(help="With --model: ask the planner what fits.")] = None,
    model: Annotated[str | None, typer.Option(help="With --gpu; as `advisor plan` takes it.")] = None,
    sequence_length: Annotated[int, typer.Option(min=2, help="Of the planner's question.")] = 2048,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say which way to adapt a model fits the need. Asks on a terminal when it is given nothing."""
    named = {
        "goal": goal, "changes": changes, "examples": examples, "base": base, "shift": shift,
        "latency": latency, "budget": budget, "private": private, "adapters": adapters,
    }  # fmt: skip
    given: dict[str, Any] = {name: answer for name, answer in named.items() if answer is not None}
    if (gpu is None) != (model is None):
        raise AdvisorError("--gpu and --model belong together.", fix="give both, or neither")
    if not given and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        given = {question.code: _asked(question) for question in questions()}
    answers, assumed = checked(given)
    found = () if gpu is None or model is None else _fits(gpu, model, sequence_length)
    advice = decide(answers | as_answers(found))
    if as_json:
        sys.stdout.write(json.dumps(_to_json(advice, answers, assumed, found), indent=2) + "\n")
    else:
        out.print(_view(advice, assumed, found))
    if advice.method is None:
        raise typer.Exit(ExitCode.NO)


def _asked(question: Question) -> str | int:
    out.print(f"\n{question.ask}", style="bold")
    if not question.answers:
        return IntPrompt.ask("  ", console=out, default=int(question.default or 0))
    for answer, meaning in question.answers.items():
        out.print(f"  {answer:<12}{meaning}")
    if question.default is None:
        return Prompt.ask("  ", console=out, choices=list(question.answers))
    return Prompt.ask("  ", console=out, choices=list(question.answers), default=str(question.default))


def _fits(gpu: str, model: str, sequence_length: int) -> tuple[Fit, ...]:
    card, assumed_card = find_gpu(gpu)
    spec, assumed_model = find_model(model)
    for note in (*assumed_card, *assumed_model):
        err.print(f"note: {note}", markup=False)
    with open_estimator() as estimator:
        return fits(spec, card, estimator, sequence_length)


def _to_json(
    advice: Advice, answers: dict[str, str | int], assumed: tuple[str, ...], found: tuple[Fit, ...]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "method",
        "method": advice.method,
        "also": list(advice.also),
        "reasons": [_rule(rule) for rule in advice.reasons],
        "notes": [_rule(rule) for rule in advice.notes],
        "rejected": [{"method": name, "reason": why} for name, why in advice.rejected],
        "changes": [{"question": c.question, "answer": c.answer, "method": c.method} for c in advice.changes],
        "fits": [{"method": f.method, "fits": f.fits, "reason": f.told} for f in found],
        "answers": answers,
        "assumptions": list(assumed),
    }


def _rule(rule: Rule) -> dict[str, str]:
    return {"code": rule.code, "text": rule.text, "source": rule.source}


def _view(advice: Advice, assumed: tuple[str, ...], found: tuple[Fit, ...]) -> RenderableType:
    parts: list[RenderableType] = [Text(_headline(advice), "bold"), _rules(advice.reasons)]
    if advice.notes:
        parts += [heading("To know"), _rules(advice.notes)]
    parts += [heading("Not chosen"), _pairs([(_name(name), why) for name, why in advice.rejected])]
    if found:
        rows = [(_name(f.method), ("fits: " if f.fits else "does not fit: ") + f.told) for f in found]
        parts += [heading("On that card, by simulation"), _pairs(rows)]
    if advice.changes:
        rows = [(f"{c.question}: {c.answer}", _name(c.method)) for c in advice.changes]
        parts += [heading("What would change the answer"), _pairs(rows)]
    if assumed:
        parts += [heading("Assumed"), _pairs([("·", line) for line in assumed])]
    return Group(*parts)


def _headline(advice: Advice) -> str:
    if advice.method is None:
        return "Nothing answers the need yet"
    return " and ".join(_name(name) for name in (advice.method, *advice.also))


def _name(method: str | None) -> str:
    return "nothing" if method is None else _NAMES.get(method, method)


def _rules(rules: tuple[Rule, ...]) -> Table:
    table = columns("left", "left")
    for rule in rules:
        table.add_row("  ·", Text.assemble(rule.text, "\n", (rule.source, "dim")))
    return table


def _pairs(rows: list[tuple[str, str]]) -> Table:
    table = columns("left", "left")
    for left, right in rows:
        table.add_row(f"  {left}", Text(right, "dim"))
    return table
