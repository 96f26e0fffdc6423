"""A file's facts for a terminal."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from advisor.data_facts.facts import Cut
from advisor.data_facts.recommend import share
from advisor.data_facts.report import Report
from advisor.terminal import columns, heading
from advisor.units import counted, gib

_BAR_CELLS = 36
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def data_view(report: Report) -> RenderableType:
    """How long the examples are, what each length cuts, what padding wastes, and what to plan for."""
    data = report.data
    lead = f"{data.path.name}: {counted(len(data.tokens), 'example')} of {data.format.value}"
    return Group(
        Text(lead, "bold"),
        _tokens(report),
        heading("Lengths"),
        _spread(report),
        _histogram(report),
        heading("What a max_seq_length does"),
        _cuts(report),
        heading("What padding wastes, where examples are not packed"),
        _padding(report),
        *_on_card(report),
        heading("Recommended"),
        _recommended(report),
        *(Padding(Text(f"·  {note}", "dim"), (0, 0, 0, 2)) for note in data.notes),
    )


def _tokens(report: Report) -> RenderableType:
    data, total = report.data, report.spread.tokens
    if data.estimated:
        low, high = round(total * data.least_share), round(total * data.most_share)
        return Text(f"  about {total:,} tokens, {low:,} to {high:,}: estimated, no tokenizer at hand")
    of_them = f", the loss counts {share(data.counted_tokens or 0, total)} of them"
    return Text(f"  {total:,} tokens by the tokenizer of {data.tokenizer}{of_them}")


def _spread(report: Report) -> RenderableType:
    s = report.spread
    table = columns("right", "right", "right", "right", "right", "right", "right")
    table.add_row("  shortest", "median", "mean", "90 %", "95 %", "99 %", "longest", style="dim")
    table.add_row(
        *(f"{n:,.0f}" for n in (s.shortest, s.median, s.mean, s.p90, s.p95, s.p99, s.longest)), style="bold"
    )
    return table


def _histogram(report: Report) -> RenderableType:
    table = columns("right", "left", "right")
    tallest = max(bar.examples for bar in report.bars)
    for bar in report.bars:
        eighths = round(8 * _BAR_CELLS * bar.examples / tallest)
        if bar.examples and not eighths:
            eighths = 1
        cells = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        table.add_row(f"  to {bar.upto:,}", Text(cells, "blue"), f"{bar.examples:,}" if bar.examples else "")
    return table


def _cuts(report: Report) -> RenderableType:
    table = columns("right", "right", "right", "right", "right", "left")
    table.add_row("", "examples cut", "tokens cut", "packed blocks", "split by a border", "", style="dim")
    chosen = report.recommended.cut.sequence_length
    for each in report.cuts:
        here = each.sequence_length == chosen
        table.add_row(
            f"  {each.sequence_length:,}",
            share(each.cut_examples, report.spread.examples),
            share(each.cut_tokens, report.spread.tokens),
            f"{each.blocks:,}",
            share(each.split_examples, report.spread.examples),
            "← recommended" if here else "",
            style="bold" if here else "",
        )
    return table


def _padding(report: Report) -> RenderableType:
    table = columns("right", "right", "right", "right", "right")
    titles = ("micro-batch", "longest batch", "drawn at random", "group_by_length", "packed")
    table.add_row(*titles, style="dim")
    for each in report.padding:
        longest = each.longest_batch_tokens // each.micro_batch
        table.add_row(
            str(each.micro_batch),
            f"{each.micro_batch} x {longest:,} tokens",
            f"{each.random_waste:.0%} padding",
            f"{each.grouped_waste:.0%}",
            "0%",
        )
    return table


def _on_card(report: Report) -> list[RenderableType]:
    """What the longest batch needs at each micro-batch, where a card was named."""
    if not report.on_card:
        return []
    table = columns("right", "right", "right", "left")
    for each in report.on_card:
        shape = f"{each.micro_batch} x {each.sequence_length:,} tokens"
        told = Text("fits", "green") if each.fits else Text("does not fit", "red")
        table.add_row(f"  {each.micro_batch}", shape, gib(each.needed_bytes), told)
    limit = Text("  by simulation, without the attention mask that padding brings", "dim")
    return [heading(f"What the longest batch needs: {report.way}"), table, limit]


def _recommended(report: Report) -> RenderableType:
    chosen = report.recommended.cut
    table = columns("left", "left", "left")
    table.add_row(
        "  max_seq_length",
        Text(f"{chosen.sequence_length:,}", "bold"),
        Text(report.recommended.reason.text, "dim"),
    )
    table.add_row("  packing", Text("yes", "bold"), Text(_gain(report, chosen), "dim"))
    return table


def _gain(report: Report, chosen: Cut) -> str:
    """What packing saves against a row of its own for each example, and against the usual random batches."""
    rows = 1 - report.spread.tokens / chosen.padded_tokens
    widest = report.padding[-1]
    return (
        f"`advisor run` packs end to end: {share(max(rows, 0), 1)} fewer tokens to compute than rows of full length, "
        f"{share(max(widest.random_waste, 0), 1)} fewer than random batches of {widest.micro_batch}"
    )
