"""The smallest caps under which a step ran, beside what the replay says."""

from itertools import groupby

from advisor.pictures.document import Cell, Group, Missing, Section, Table, columns, text
from advisor.profiles.record import Measurement, SmallestCap
from advisor.units import gib, mib
from bench.accuracy.caps import WITH_RETRIES, WITHOUT_RETRIES
from bench.accuracy.compared import Figure
from bench.report.reading import CardRows
from bench.report.words import batch, percent, way_words

_TITLE = "The smallest memory that works"
_CAPTION = (
    "The smallest cap on the allocator under which the step ran, found by halving; each is right to within the "
    "resolution, from above. With retries the allocator emptied its cache on the way and went on. Below each: how far the "
    "replay's smallest cap lies off it."
)


def caps(card: CardRows) -> Section | Missing:
    """One line for each row whose cap was looked for."""
    found = [(row, row.smallest_cap) for row in card.current if row.smallest_cap is not None]
    if not found:
        return Missing(title=_TITLE, why="no smallest cap was looked for")
    table = Table(
        name="caps",
        caption=_CAPTION,
        columns=columns(
            "Way", numeric=("Batch", "Reserved, uncapped", "Without retries", "With retries", "Resolution")
        ),
        groups=tuple(
            Group(title=model, rows=tuple(_line(row, cap, card.figures.get(row.id, {})) for row, cap in part))
            for model, part in groupby(found, key=lambda one: one[0].model)
        ),
    )
    return Section(name="caps", title=_TITLE, blocks=(table,))


def _line(row: Measurement, cap: SmallestCap, figures: dict[str, Figure]) -> tuple[Cell, ...]:
    return (
        text(way_words(row.config)),
        text(batch(row.config)),
        text(gib(row.peak_reserved_bytes)) if row.peak_reserved_bytes and row.cap_bytes is None else Cell(),
        _cap(cap.without_retries_bytes, figures.get(WITHOUT_RETRIES)),
        _cap(cap.with_retries_bytes, figures.get(WITH_RETRIES)),
        text(mib(cap.resolution_bytes, 0)),
    )


def _cap(found_bytes: int, figure: Figure | None) -> Cell:
    if figure is None:
        return text(gib(found_bytes))
    return text(gib(found_bytes), f"replay {percent(figure.error)}")
