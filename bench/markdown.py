"""Tables as Markdown has them."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The lines below their header."""
    head, *body = ("| " + " | ".join(row) + " |" for row in (header, *lines))
    return "\n".join((head, "|---" * len(header) + "|", *body))
