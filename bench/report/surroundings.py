"""What ran and how it ended: environments, outcomes with their reasons, and what is measured and what is not."""

from collections import Counter
from statistics import median
from typing import Any

from advisor.catalog.gpus import usable_bytes
from advisor.pictures.document import Block, Column, Listing, Paragraph, Section, Table, columns, only, text
from advisor.profiles.record import NO_BENCHMARK, Measurement, Outcome
from advisor.units import counted, gib
from bench.report.reading import CardRows
from bench.report.words import batch, way_words

_SPREAD = 0.1  # of the timed steps around their median, above which a speed may not be repeatable
_TOLD = 160  # characters of a reason
_ABSENT = "\N{EM DASH}"

_LEAD = (
    "Memory and time are measured, and power where the card tells it: each row is one fresh process that trained on the "
    "card with random weights in the model's shape on random tokens. Predictions are simulated: the same step traced without a card and "
    "its allocations replayed. A row under a cap ran the real step on this card with less memory to give: its memory is "
    "that of a smaller card with these kernels, its speed is not."
)


def surroundings(card: CardRows) -> Section:
    """The last section."""
    blocks: list[Block] = [Paragraph(text=_LEAD), _outcomes(card)]
    if any(row.reason for row in _unexpected(card)):
        blocks.append(_reasons(card))
    blocks += [Listing(items=_remarks(card)), _environments(card)]
    return Section(name="environment", title="Rows and environment", blocks=tuple(blocks))


def _outcomes(card: CardRows) -> Table:
    counts = Counter(row.outcome for row in card.rows)
    meanings = {
        Outcome.OK: "ran to its end",
        Outcome.OOM: "the card, or the cap, had no more to give",
        Outcome.UNSUPPORTED: "this card or these libraries can't do it",
        Outcome.FAILED: "anything else; the reason says what",
    }
    return Table(
        name="outcomes",
        caption=f"How the {counted(len(card.rows), 'row')} ended.",
        columns=columns("Outcome", "Meaning", numeric=("Rows",)),
        groups=only(
            tuple(
                (text(outcome.value), text(words), text(str(counts[outcome])))
                for outcome, words in meanings.items()
            )
        ),
    )


def _unexpected(card: CardRows) -> tuple[Measurement, ...]:
    return tuple(row for row in card.rows if row.outcome in {Outcome.UNSUPPORTED, Outcome.FAILED})


def _reasons(card: CardRows) -> Table:
    return Table(
        name="reasons",
        caption="What was unsupported or failed, and why.",
        columns=columns("Row", "Outcome", "Reason"),
        groups=only(
            tuple(
                (
                    text(f"{row.model}, {way_words(row.config)}, {batch(row.config)}"),
                    text(row.outcome.value),
                    text(_shortened(row.reason)),
                )
                for row in _unexpected(card)
            )
        ),
    )


def _shortened(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _TOLD else line[: _TOLD - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _remarks(card: CardRows) -> tuple[str, ...]:
    rows = card.rows
    counts = {
        "Under a cap: {}. The tables of memory and speed leave them out.": sum(
            row.cap_bytes is not None for row in rows
        ),
        "On a card shared with other processes: {}. Their time and NVML's figure do not count.": sum(
            row.shared for row in rows
        ),
        "Measured again later: {}. Only the later ones are shown.": len(rows) - len(card.current),
        f"A timed step lies more than {_SPREAD:.0%} from the median: {{}}. Their speed may not repeat.": sum(
            map(_unsteady, rows)
        ),
        "Contributed by others: {}.": sum(row.provenance != "collected" for row in rows),
    }
    held = Counter(reason for row in rows if row.clocks for reason in row.clocks.throttle_reasons)
    counts |= {f"Clocks held back ({reason}): {{}}.": held[reason] for reason in sorted(held)}
    versions = Counter(row.benchmark_version for row in rows)
    told = (f"{_way(version)} for {counted(versions[version], 'row')}" for version in sorted(versions))
    return (
        _when(card),
        f"Way of measuring: {', '.join(told)}.",
        *(words.format(counted(count, "row")) for words, count in counts.items() if count),
    )


def _way(version: int) -> str:
    return "a run's own" if version == NO_BENCHMARK else f"version {version}"


def _unsteady(row: Measurement) -> bool:
    if row.shared or not row.timed_seconds:
        return False
    middle = median(row.timed_seconds)
    return any(abs(seconds / middle - 1) > _SPREAD for seconds in row.timed_seconds)


def _when(card: CardRows) -> str:
    days = sorted({row.measured_at[:10] for row in card.rows})
    return f"Measured on {days[0]}." if len(days) == 1 else f"Measured from {days[0]} to {days[-1]}."


def _environments(card: CardRows) -> Table:
    flat = {name: dict(_flattened(facts)) for name, facts in card.environments.items()}
    keys = dict.fromkeys(key for facts in flat.values() for key in facts)
    counts = Counter(row.environment for row in card.rows)
    lines = [("rows", [str(counts[name]) for name in flat])]
    lines += [(key, [facts.get(key, _ABSENT) for facts in flat.values()]) for key in keys]
    usable = f"{gib(usable_bytes(card.card))} of {gib(card.card.memory_bytes)}"
    lines.append(("usable memory, by the catalog", [usable] * len(flat)))
    return Table(
        name="environments",
        caption="Each environment that rows come from; its name ends in six digits of the fingerprint, the SHA-256 of its facts.",
        columns=(Column(title="Fact"), *(Column(title=name) for name in flat)),
        groups=only(tuple((text(key), *(text(value) for value in values)) for key, values in lines)),
    )


def _flattened(facts: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested facts as one list; a package is called by its name."""
    found = []
    for key, value in facts.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict):
            found += _flattened(value, "" if key == "packages" else f"{name}, ")
        else:
            found.append((name, _shown(value)))
    return found


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
