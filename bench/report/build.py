"""From a card's rows to a whole report, and from all rows to files."""

from advisor.catalog.gpus import usable_bytes
from advisor.pictures.document import Document, Listing, Missing, Section
from advisor.pictures.html import to_html
from advisor.units import counted, gib
from bench.report.caps import caps
from bench.report.energy import energy
from bench.report.forecast import forecast
from bench.report.frontier import frontier
from bench.report.growth import growth
from bench.report.markdown import MADE_BY, MARK, to_markdown
from bench.report.matrix import matrix
from bench.report.overview import overview
from bench.report.pareto import pareto
from bench.report.probed import probed
from bench.report.reading import CardRows
from bench.report.surroundings import surroundings


def build(card: CardRows) -> Document:
    """The report of one card. The same rows give the same report."""
    parts = [
        part(card) for part in (overview, matrix, growth, pareto, forecast, frontier, caps, energy, probed)
    ]
    sections = [part for part in parts if isinstance(part, Section)]
    absent = [part for part in parts if isinstance(part, Missing)]
    if absent:
        sections.append(_absent(absent))
    return Document(
        title=f"Fine-tuning on the {card.card.name}",
        lead=_lead(card),
        sections=(*sections, surroundings(card)),
    )


def _absent(parts: list[Missing]) -> Section:
    return Section(
        name="missing",
        title="Not in this report",
        blocks=(Listing(items=tuple(f"{part.title}: {part.why}." for part in parts)),),
    )


def _lead(card: CardRows) -> str:
    models = {row.model for row in card.rows}
    return (
        f"Memory and throughput as measured on one card that gives training {gib(usable_bytes(card.card))}: "
        f"{counted(len(card.rows), 'row')} of {counted(len(models), 'model')}. "
        f"{MADE_BY}; never edited."
    )


def texts(card: CardRows) -> dict[str, str]:
    """The report's files by their endings."""
    document = build(card)
    return {".md": to_markdown(document, f"{card.card.slug}.html"), ".html": to_html(document, mark=MARK)}
