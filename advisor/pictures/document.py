"""What a page is made of, before anyone decides how it looks.

Text is plain, with `backticks` for code; Markdown and HTML are written from the same blocks.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: its lines, the first in full ink; `kind` is a class of the page's style."""

    lines: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's heading, and whether it holds numbers."""

    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows under a common heading, which may be empty."""

    title: str = ""
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of each row heads it."""

    name: str  # unique in the report
    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend: a mark drawn in SVG, and what it means."""

    svg: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One drawing of a figure, and the numbered notes below it."""

    title: str
    svg: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Drawings of one kind with one caption and one legend."""

    name: str  # unique in the report
    caption: str
    keys: tuple[Key, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Sentences that stand for themselves, one an item."""

    items: tuple[str, ...]


Block = Paragraph | Listing | Table | Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    name: str  # unique in the report
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A section that the rows can't fill, and why."""

    title: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report."""

    title: str
    lead: str
    sections: tuple[Section, ...]


def text(*lines: str) -> Cell:
    """A cell of one or more lines."""
    return Cell(lines=lines)


def columns(*titles: str, numeric: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns by their headings; those of `numeric` follow, and hold numbers; those of `after` do not."""
    return (
        *(Column(title=title) for title in titles),
        *(Column(title=title, numeric=True) for title in numeric),
        *(Column(title=title) for title in after),
    )


def only(rows: tuple[tuple[Cell, ...], ...]) -> tuple[Group, ...]:
    """The rows as one group without a heading."""
    return (Group(rows=rows),)
