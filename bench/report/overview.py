"""What a newcomer reads first: the largest batch that was measured, what it took, and which card has that much."""

from itertools import groupby

from advisor.catalog.gpus import usable_bytes
from advisor.pictures.document import Cell, Group, Listing, Paragraph, Section, Table, columns, only, text
from advisor.profiles.record import Measurement
from advisor.units import counted, gib
from bench.report.card_classes import class_limits, fitting_class
from bench.report.reading import CardRows, model_order, row_order
from bench.report.words import batch, checkpointing_words, otherwise, speed, tokens, trained

_TITLE = "At a glance"
_LARGEST_CAPTION = (
    "The largest batch measured for each model and way to train it, with the whole card to itself, and the smallest class "
    "of card that has so much memory."
)
_CLASSES_CAPTION = (
    "For each class of card, the largest model of which a row was measured that takes no more than such a card gives, and "
    "its largest batch. The speed is this card's."
)


def overview(card: CardRows) -> Section:
    """What fits which card, the largest batches, and how to read both."""
    if not card.ran:
        nothing = (
            f"None of the {counted(len(card.rows), 'row')} ran to its end with the whole card to itself."
        )
        return Section(name="overview", title=_TITLE, blocks=(Paragraph(text=nothing),))
    blocks = (_classes_table(card), _largest_table(card), Listing(items=_how_to_read(card)))
    return Section(name="overview", title=_TITLE, blocks=blocks)


def _classes_table(card: CardRows) -> Table:
    return Table(
        name="classes",
        caption=_CLASSES_CAPTION,
        columns=columns(
            "A card of",
            "Largest model",
            "Trained",
            numeric=("Batch", "Reserved", "Tokens/s here"),
            after=("With",),
        ),
        groups=only(tuple(_class_line(name, row) for name, row in by_class(card))),
    )


def by_class(card: CardRows) -> tuple[tuple[str, Measurement], ...]:
    """The largest that fits each class, smallest class first; classes of the same row share a name."""
    usable = usable_bytes(card.card)
    limits = [
        *((size, limit) for size, limit in class_limits() if limit < usable),
        (card.card.class_gb, usable),
    ]
    found = ((size, largest_within(card.ran, limit)) for size, limit in limits)
    shared = ((row, [size for size, _ in same]) for row, same in groupby(found, key=lambda one: one[1]))
    return tuple((_class_name(sizes, limits[-1][0]), row) for row, sizes in shared if row is not None)


def _class_name(sizes: list[int], last: int) -> str:
    if len(sizes) == 1:
        return f"{sizes[0]} GB"
    return f"{sizes[0]} GB or more" if sizes[-1] == last else f"{sizes[0]} to {sizes[-1]} GB"


def largest_within(rows: tuple[Measurement, ...], limit_bytes: int) -> Measurement | None:
    """The row of the largest model that takes no more; of its rows, the one with the most tokens at once."""
    fitting = [row for row in rows if (row.peak_reserved_bytes or 0) <= limit_bytes]
    return max(fitting, key=lambda row: (model_order(row.model), *_rank(row)), default=None)


def _class_line(name: str, row: Measurement) -> tuple[Cell, ...]:
    return (text(name), text(row.model), text(trained(row.config)), *_figures(row), _how(row))


def _largest_table(card: CardRows) -> Table:
    return Table(
        name="largest",
        caption=_LARGEST_CAPTION,
        columns=columns(
            "Trained",
            numeric=("Batch", "Reserved", "Tokens/s", "On the card", "Fits a card of"),
            after=("With",),
        ),
        groups=tuple(
            Group(title=model, rows=tuple(_line(row) for row in largest(tuple(rows))))
            for model, rows in groupby(card.ran, key=lambda row: row.model)
        ),
    )


def largest(rows: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """For each method and precision the row with the most tokens at once; of equals the one that takes least."""
    best: dict[str, Measurement] = {}
    for row in sorted(rows, key=_rank):
        best[trained(row.config)] = row
    return tuple(sorted(best.values(), key=row_order))


def _rank(row: Measurement) -> tuple[int, int, str]:
    return tokens(row.config), -(row.peak_reserved_bytes or 0), row.id


def _line(row: Measurement) -> tuple[Cell, ...]:
    return (
        text(trained(row.config)),
        *_figures(row),
        text(gib(row.peak_device_bytes)) if row.peak_device_bytes and not row.shared else Cell(),
        text(fitting_class(row.peak_reserved_bytes or 0)),
        _how(row),
    )


def _how(row: Measurement) -> Cell:
    return Cell(lines=(", ".join((checkpointing_words(row.config), *otherwise(row.config))),), kind="words")


def _figures(row: Measurement) -> tuple[Cell, ...]:
    return (
        text(batch(row.config)),
        text(gib(row.peak_reserved_bytes or 0)),
        text(speed(row.tokens_per_second)) if row.tokens_per_second else Cell(),
    )


def _how_to_read(card: CardRows) -> tuple[str, ...]:
    sizes = "; ".join(f"{size} GB gives {gib(usable)}" for size, usable in class_limits())
    reserved = (
        "Reserved: what torch's allocator took from the card at its peak, unused parts included; a step fits where "
        "this fits. On the card: what NVML counts as used, with the CUDA context and the driver's own."
    )
    fits = (
        f"Fits a card of: the smallest class whose usable memory holds the reserved peak ({sizes}). Memory is all "
        f"that it compares: the step ran with the kernels of the {card.card.name}, and another card may lack them."
    )
    trained_words = (
        "Trained: which weights learn, and how the base weights are stored: fp32, fp16, bf16, int8 (LLM.int8), nf4 (4 "
        "bits, with their scales quantised too) or nf4-single (4 bits alone)."
    )
    return (
        trained_words,
        "Batch: sequences in one forward pass by tokens in one sequence.",
        "With: where nothing else is said, fused AdamW, bf16 autocast, no accumulation, rank 16. Loss: stock is transformers' own, chunked TRL's.",
        reserved,
        "Tokens/s: by the median step after the warm-up. It is the speed of this card alone.",
        fits,
    )
