"""`advisor explain`: what is alive at the peak of a config, and what each single change would save and cost."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from advisor.catalog.assumed import assumed_for
from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import model_from_config
from advisor.commands.estimating import open_estimator
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.estimate_rows import Question, read_question
from advisor.explain import Explanation, explain
from advisor.explain_page import PEFT_PREFIX, STRETCHES, explain_page
from advisor.files import check_new, write_new
from advisor.plan.document import load_plan
from advisor.terminal import columns, heading
from advisor.units import gib, size

EPILOG = (
    "advisor explain plan.json  |  advisor explain plan.json --html plan.html  |  "
    'advisor explain \'{"model": "8B", "gpu": "24GB", "precision": "nf4", "micro_batch": 2}\''
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_SHARES = 12  # rows shown; the JSON has all
_BESIDE_COURSE = 26  # columns for the two figures
_PLAIN = "the default"  # a field that came later is left out where it has it
_EVALUATION = "evaluate"
_BARS = " ▁▂▃▄▅▆▇█"


def explain_command(  # noqa: PLR0913 - what to show, and how
    what: Annotated[str, typer.Argument(help="A plan file, or one config as `advisor estimate` takes it.")],
    compare: Annotated[
        str | None, typer.Option(help="Another one: show what differs by category instead.")
    ] = None,
    lines: Annotated[bool, typer.Option(help="Tell activations by the line of code that made them.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write one page with the course as a drawing.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Take one configuration apart: what its peak holds, its course through a step, and the levers."""
    if html is not None and compare is not None:
        raise AdvisorError("A page shows one config.", fix="leave out --html or --compare")
    if html is not None:
        check_new(html, force=force)
    question = _question(what)
    with open_estimator() as estimator:
        stretches = STRETCHES if html is not None else max(24, out.width - _BESIDE_COURSE)
        levers_too = compare is None or as_json  # a comparison shows none, and each may want a trace
        first = _explained(question, estimator, stretches, levers_too=levers_too)
        other = None if compare is None else _question(compare)
        second = None if other is None else _explained(other, estimator, stretches, levers_too=levers_too)
    if lines:
        first = _by_line(first, question)
    if html is not None:
        usable = None if question.gpu is None else usable_bytes(question.gpu)
        write_new(html, explain_page(first, question.gpu, usable), force=force)
        err.print(f"wrote {html}")
        return
    if as_json:
        document = {"schema": 1, "explained": [_plain(each) for each in (first, second) if each is not None]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    elif second is None:
        out.print(_view(first))
    else:
        out.print(_difference(first, second))


def _explained(question: Question, estimator: Estimator, stretches: int, *, levers_too: bool) -> Explanation:
    for note in question.assumptions:
        err.print(f"note: {note}", markup=False)
    return explain(
        question.model,
        question.config,
        question.gpu,
        estimator,
        stretches=stretches,
        levers_too=levers_too,
    )


def _by_line(one: Explanation, question: Question) -> Explanation:
    """The same peak, from a trace that writes down the lines."""
    with open_estimator(lines=True) as estimator:
        shares = estimator.shares_at_peak(question.model, question.config, question.gpu)
    return replace(one, shares=shares)


def _question(what: str) -> Question:
    if what.lstrip().startswith("{"):
        return read_question(what)
    planned = load_plan(Path(what))
    gpu, assumed = find_gpu(planned.card.name)
    model, more = model_from_config(planned.model.config, planned.model.name)
    told = (*assumed, *more, *assumed_for(planned.config))
    return Question(None, model, gpu, planned.config, told)


def _plain(one: Explanation) -> dict[str, Any]:
    return asdict(one) | {"config": one.config.to_json(), "by_category": one.by_category()}


def _view(one: Explanation) -> RenderableType:
    head = f"{one.model}: {gib(one.peak_allocated_bytes)} allocated at the peak, in {one.where}; "
    parts: list[RenderableType] = [
        Text(head + f"{gib(one.peak_reserved_bytes)} reserved", style="bold"),
        Text(f"reserved: {one.basis}", "dim"),
        heading("Alive at the peak"),
        _shares(one),
        heading("By phase"),
        _phases(one),
        heading(f"{_course_words(one)}, allocation by allocation"),
        _course(one),
        heading("One change alone, by simulation"),
        _levers(one),
    ]
    parts += [Text(f"  not traced: {line}", "dim") for line in one.not_traced]
    return Group(*parts)


def _shares(one: Explanation) -> Table:
    table = columns("left", "right", "right", "left")
    for name, held in one.by_category().items():
        table.add_row(f"  {name}", Text(size(held), "bold"), f"{held / one.peak_allocated_bytes:.0%}", "")
    for share in one.shares[:_SHARES]:
        where = share.module.removeprefix(PEFT_PREFIX) or share.op
        count = f"{share.count} x" if share.count > 1 else ""
        table.add_row(f"    {share.category}", size(share.size_bytes), count, Text(where, "dim"))
    return table


def _phases(one: Explanation) -> Table:
    """The allocated peak of each phase; an evaluation that the run does without is told, and does not count."""
    table = columns("left", "right", "left")
    for name, peak in one.phases:
        counts = name != _EVALUATION or one.config.evaluates
        note = "the peak" if name == one.peak_phase else "" if counts else "not counted: it does not evaluate"
        table.add_row(
            f"  {name}", Text(gib(peak), "bold" if name == one.peak_phase else ""), Text(note, "dim")
        )
    return table


def _course_words(one: Explanation) -> str:
    return "Two steps and an evaluation" if one.config.evaluates else "Two steps"


def _course(one: Explanation) -> RenderableType:
    heights = [moment.allocated_bytes for moment in one.moments]
    low, high = min(heights), max(heights)
    steps = len(_BARS) - 1
    line = "".join(_BARS[1 + round((h - low) / max(high - low, 1) * (steps - 1))] for h in heights)
    return Text(f"  {gib(low)} {line} {gib(high)}")


def _levers(one: Explanation) -> Table:
    table = columns("left", "right", "right", "left")
    table.add_row("", "reserved", "allocated", "", style="dim")
    for lever in one.levers:
        style = "green" if lever.saved_reserved_bytes > 0 else "dim"
        saved = Text(_signed(-lever.saved_reserved_bytes), style)
        table.add_row(
            f"  {lever.change}", saved, _signed(-lever.saved_allocated_bytes), Text(lever.cost, "dim")
        )
    return table


def _difference(one: Explanation, other: Explanation) -> RenderableType:
    table = columns("left", "right", "right", "right")
    table.add_row("", "first", "second", "difference", style="dim")
    mine, theirs = one.by_category(), other.by_category()
    for name in dict.fromkeys((*mine, *theirs)):
        a, b = mine.get(name, 0), theirs.get(name, 0)
        table.add_row(f"  {name}", size(a), size(b), _signed(b - a))
    for name, a, b in (
        ("peak allocated", one.peak_allocated_bytes, other.peak_allocated_bytes),
        ("peak reserved", one.peak_reserved_bytes, other.peak_reserved_bytes),
    ):
        table.add_row(Text(name, "bold"), size(a), size(b), Text(_signed(b - a), "bold"))
    first, second = one.config.to_json(), other.config.to_json()
    changed = [
        f"{name}: {first.get(name, _PLAIN)} → {second.get(name, _PLAIN)}"
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    ]
    return Group(Text("; ".join(changed) or "the same config", "dim"), table)


def _signed(size_bytes: int) -> str:
    return ("+" if size_bytes > 0 else "-" if size_bytes < 0 else "") + size(abs(size_bytes))
