"""`advisor explain --html`: one config taken apart, as a page that needs nothing but itself."""

from itertools import islice

from advisor.explain import Explanation, Lever
from advisor.explain_drawing import category_keys, memory_drawings
from advisor.pictures.document import (
    Cell,
    Document,
    Figure,
    Group,
    Listing,
    Panel,
    Section,
    Table,
    columns,
    only,
    text,
)
from advisor.pictures.html import to_html
from advisor.records import GpuSpec
from advisor.tape.versions import installed_versions
from advisor.units import gib, size

STRETCHES = 180  # of the run, each with its highest moment
PEFT_PREFIX = "base_model.model."  # before the names that people know
_SHARES = 24  # rows shown; the JSON has all
_MARK = "<!-- Written by advisor explain. -->"
_TIMES = "\N{MULTIPLICATION SIGN}"
_NEAR = 1.5  # a limit further above the peak than this would flatten the drawing


def explain_page(one: Explanation, card: GpuSpec | None, usable_bytes: int | None) -> str:
    """The whole page; `usable_bytes` is what the card gives to the allocator."""
    where = card.name if card else "any card"
    config = one.config
    lead = (
        f"{gib(one.peak_allocated_bytes)} allocated at the peak, in {one.where}; {gib(one.peak_reserved_bytes)} reserved. "
        f"`{config.method.value}` over `{config.precision.value}`, {config.micro_batch} {_TIMES} {config.sequence_length:,} tokens at a time, "
        f"checkpointing `{config.checkpointing.value}`, loss `{config.loss.value}`. Simulated. "
        f"Reserved: {one.basis}."
    )
    sections = (
        _course(one, usable_bytes),
        Section(
            name="peak",
            title="What is alive at the peak",
            blocks=(_phases(one), _categories(one), _shares(one)),
        ),
        _levers(one),
        _notes(one),
    )
    document = Document(title=f"{one.model} on {where}", lead=lead, sections=sections)
    return to_html(document, mark=_MARK, styles=("memory.css",))


def _course(one: Explanation, usable_bytes: int | None) -> Section:
    limits = [("reserved", one.peak_reserved_bytes)]
    if usable_bytes is not None and usable_bytes < _NEAR * one.peak_reserved_bytes:
        limits.append(("the card gives", usable_bytes))
    letters = sorted({moment.phase for moment in one.moments})
    caption = (
        f"What the tensors hold by category, through {_span(one)}; optimizer states come with the first step. "
        "Each stretch shows its highest moment. Loading is left out. Where there is no room a phase is told by its first letter: "
        f"{', '.join(letters)}."
    )
    panel = Panel(
        title=f"Allocated memory through {_span(one)}",
        svg=memory_drawings(one.moments, one.peak_allocated_bytes, limits),
    )
    figure = Figure(name="course", caption=caption, keys=category_keys(one.moments), panels=(panel,))
    return Section(name="course", title="The course of a step", blocks=(figure,))


def _span(one: Explanation) -> str:
    return "two steps and an evaluation" if one.config.evaluates else "two steps"


def _phases(one: Explanation) -> Table:
    rows = tuple((text(name), text(size(peak))) for name, peak in one.phases)
    left_out = "" if one.config.evaluates else " The evaluation is not counted: the run does without."
    titles = columns("phase", numeric=("allocated peak",))
    return Table(name="phases", caption=f"By phase.{left_out}", columns=titles, groups=only(rows))


def _categories(one: Explanation) -> Table:
    rows = tuple(
        (text(name), text(size(held)), text(f"{held / one.peak_allocated_bytes:.1%}"))
        for name, held in one.by_category().items()
    )
    titles = columns("category", numeric=("bytes", "of the peak"))
    return Table(name="categories", caption="By category.", columns=titles, groups=only(rows))


def _shares(one: Explanation) -> Table:
    """By category, module and op, the largest first."""
    shown = list(islice(one.shares, _SHARES))
    rest = one.shares[_SHARES:]
    rows = [
        (
            text(share.module.removeprefix(PEFT_PREFIX) or "not in a module"),
            text(share.category),
            text(share.op),
            text(f"{share.count:,}"),
            text(size(share.size_bytes)),
        )
        for share in shown
    ]
    if rest:
        left = (text(f"{len(rest)} smaller ones"), *(Cell(),) * 2, text(f"{sum(s.count for s in rest):,}"))
        rows.append((*left, text(size(sum(s.size_bytes for s in rest)))))
    caption = "By module and operation; `*` stands for the number of a layer."
    titles = columns("module or line", "category", "operation", numeric=("buffers", "bytes"))
    return Table(name="shares", caption=caption, columns=titles, groups=(Group(rows=tuple(rows)),))


def _levers(one: Explanation) -> Section:
    rows = tuple(_lever(lever) for lever in one.levers)
    caption = "One change alone, by simulation; the largest saving of reserved memory first."
    titles = columns("change", numeric=("reserved", "allocated"), after=("what it costs",))
    table = Table(name="levers", caption=caption, columns=titles, groups=only(rows))
    return Section(name="levers", title="The levers", blocks=(table,))


def _lever(lever: Lever) -> tuple[Cell, ...]:
    return (
        text(lever.change),
        text(_signed(-lever.saved_reserved_bytes)),
        text(_signed(-lever.saved_allocated_bytes)),
        text(lever.cost),
    )


def _notes(one: Explanation) -> Section:
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    items = (
        f"Simulated, not measured, with {versions}.",
        "The horizontal axis counts requests to the allocator, not seconds.",
        *(f"Not traced: {line}." for line in one.not_traced),
    )
    return Section(name="notes", title="How this was made", blocks=(Listing(items=items),))


def _signed(size_bytes: int) -> str:
    sign = "+" if size_bytes > 0 else "\N{MINUS SIGN}" if size_bytes < 0 else ""
    return sign + size(abs(size_bytes))
