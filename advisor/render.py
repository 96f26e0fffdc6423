"""What a person reads: plans, estimates and lists, for a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advisor.catalog.gpus import usable_bytes
from advisor.catalog.traps import Trap
from advisor.phases import peak_words
from advisor.plan.document import Alternative, Plan
from advisor.records import ByteInterval, Estimate, GpuSpec, ModelSpec
from advisor.terminal import columns, heading
from advisor.units import GIB, gib

_BAR_CELLS = 40
# One colour a category, also told apart by order; a terminal without colour still shows the numbers.
_COLOURS = {
    "parameter": "blue",
    "quantisation state": "cyan",
    "optimizer state": "magenta",
    "gradient": "red",
    "activation": "green",
    "logits/loss": "yellow",
    "workspace": "white",
    "buffer": "bright_black",
}


def plan_view(plan: Plan) -> RenderableType:
    """The plan but for its command, which must stay on one line: choice, memory, what lost, assumptions."""
    parts: list[RenderableType] = [
        Text(f"{plan.model.name} on {plan.card.name}", style="bold"),
        _choices(plan),
        heading("Memory"),
        _memory(plan),
        _at_peak(plan.estimate),
        heading("Not chosen"),
        _alternatives(plan.alternatives, plan.card.usable_bytes),
        *_watch_out(plan.traps),
        heading("Assumed"),
        _bullets(plan.assumptions),
    ]
    return Group(*parts)


def _choices(plan: Plan) -> RenderableType:
    table = columns("left", "left", "left")
    for choice in plan.choices:
        table.add_row(f"  {choice.name}", Text(choice.value, style="bold"), Text(choice.reason.text, "dim"))
    return table


def _memory(plan: Plan) -> RenderableType:
    estimate, card = plan.estimate, plan.card
    table = columns("left", "right", "left")
    rows = (
        ("peak allocated", estimate.peak_allocated_bytes, "what the tensors hold"),
        ("peak reserved", estimate.peak_reserved_bytes, f"of {gib(card.usable_bytes)} that the card gives"),
        ("on the card", estimate.peak_device_bytes, f"of {gib(card.board_bytes)}, as NVML counts"),
    )
    for name, figure, against in rows:
        if figure is not None:
            table.add_row(f"  {name}", Text(gib(figure.value), "bold"), f"{against}; 90 %: {_range(figure)}")
    least = estimate.minimum_reserved_bytes
    table.add_row("  smallest cap", gib(least), "runs, with the cache emptied on the way")
    binding = peak_words(estimate.peak_phase, estimate.peak_step)
    table.add_row("  the peak is in", "", binding)
    table.add_row("  by phase", "", phases_line(estimate.phases))
    if estimate.merge_host_bytes is not None:
        told = "of the host's main memory, to merge the adapter afterwards"
        table.add_row("  merging", gib(estimate.merge_host_bytes), told)
    table.add_row("  basis", estimate.basis.value, estimate.evidence.behind)
    if estimate.simulated is not None:
        simulated = estimate.simulated
        told = f"{gib(simulated.allocated_bytes)} allocated, {gib(simulated.reserved_bytes)} reserved"
        table.add_row("  simulated", "", told)
    return table


def phases_line(phases: Iterable[tuple[str, int]]) -> str:
    """Each phase's allocated peak, in the order of the run."""
    return ", ".join(f"{name} {size / GIB:.2f}" for name, size in phases) + " GiB"


def _range(figure: ByteInterval) -> str:
    return f"{figure.low / GIB:.2f} to {figure.high / GIB:.2f}"


def _at_peak(estimate: Estimate) -> RenderableType:
    total = estimate.peak_allocated_bytes.value
    bar = Text("  ")
    for category, size in estimate.at_peak:
        bar.append("█" * round(_BAR_CELLS * size / total), style=_COLOURS.get(category, "white"))
    legend = Text("  ")
    for category, size in estimate.at_peak:
        if size * 200 >= total:
            legend.append("■ ", style=_COLOURS.get(category, "white"))
            legend.append(f"{category} {gib(size)}   ")
    return Group(bar, legend)


def _alternatives(alternatives: Sequence[Alternative], usable_bytes: int) -> RenderableType:
    table = columns("left", "right", "left")
    for lost in alternatives:
        needs = f"{'≥ ' if lost.lower_bound else ''}{lost.needed_bytes / GIB:.2f} of {gib(usable_bytes)}"
        style = "red" if lost.needed_bytes > usable_bytes else ""
        table.add_row(f"  {lost.label}", Text(needs, style), Text(lost.reason.text, "dim"))
    return table


_TRAP_STYLES = {"fails": "bold red", "memory": "yellow", "speed": "yellow", "note": "dim"}


def _watch_out(traps: Sequence[Trap]) -> list[RenderableType]:
    """What the card does that one must know, with what to do; their sources are in the JSON."""
    if not traps:
        return []
    table = columns("left", "left")
    for trap in traps:
        table.add_row(Text(f"  {trap.kind}", _TRAP_STYLES[trap.kind]), Text(trap.text))
        table.add_row("", Text(trap.fix, "dim"))
    return [heading("Watch out"), table]


def _bullets(lines: Iterable[str]) -> RenderableType:
    table = columns("left", "left")
    for line in lines:
        table.add_row("  ·", line)
    return table


def gpus_view(gpus: Iterable[GpuSpec]) -> RenderableType:
    """The cards of the catalog, sizes in GiB; their full names are in the JSON."""
    table = _list_table("name", "torch sees", "usable", "cc", "bf16", "GB/s", "TFLOP/s")
    for gpu in gpus:
        table.add_row(
            gpu.slug,
            f"{gpu.memory_bytes / GIB:.2f}",
            f"{usable_bytes(gpu) / GIB:.2f}",
            ".".join(map(str, gpu.compute_capability)),
            "yes" if gpu.bf16 else "no",
            f"{gpu.bandwidth_bytes_per_second / 1e9:,.0f}",
            f"{gpu.matmul_flops_per_second / 1e12:,.0f}",
        )
    return table


def _list_table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def models_view(models: Iterable[ModelSpec]) -> RenderableType:
    """The models of the catalog."""
    table = _list_table("name", "type", "parameters", "layers", "hidden", "vocabulary")
    for model in models:
        facts = model.config
        table.add_row(
            model.name,
            str(facts["model_type"]),
            f"{model.parameters / 1e9:,.2f} B",
            str(facts["num_hidden_layers"]),
            f"{facts['hidden_size']:,}",
            f"{facts['vocab_size']:,}",
        )
    return table


def traps_view(rules: Iterable[dict[str, Any]]) -> RenderableType:
    """The rules about cards, each with its source."""
    table = columns("left", "left")
    for rule in rules:
        table.add_row(Text(rule["code"], "bold"), Text(f"{rule['kind']}: {rule['text']}"))
        table.add_row("", Text(rule["fix"]))
        table.add_row("", Text(f"{rule['source']} ({rule['date']})", "dim"))
    return table
