"""The two pieces that every view in the terminal is put together from."""

from typing import Literal

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Justify = Literal["left", "center", "right"]


def heading(text: str) -> RenderableType:
    """A section's title, with a line of space above."""
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


def columns(*justify: Justify) -> Table:
    """A table without lines or head, a column for each; long cells fold."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for how in justify:
        table.add_column(justify=how, overflow="fold")
    return table
