"""A document as one page that needs nothing but itself."""

import re
from html import escape
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from advisor.pictures.document import Block, Document

_CODE = re.compile(r"`([^`]+)`")
_TIMES = " \N{MULTIPLICATION SIGN} "


def to_html(document: Document, *, mark: str = "") -> str:
    """The whole page; `mark` is a comment near its top that says where it is from."""
    here = files("advisor.pictures")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"kind": _kind, "words": _words}
    template = environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8"))
    style = Markup(here.joinpath("page.css").read_text(encoding="utf-8"))  # noqa: S704 - ours
    return template.render(document=document, style=style, mark=Markup(mark))  # noqa: S704 - ours


def _kind(block: Block) -> str:
    """Which part of the template writes the block."""
    return type(block).__name__.lower()


def _words(text: str) -> Markup:
    """Text with `backticks` as code, and products that stay on one line."""
    whole = escape(text).replace(_TIMES, "&nbsp;\N{MULTIPLICATION SIGN}&nbsp;")
    return Markup(_CODE.sub(r"<code>\1</code>", whole))  # noqa: S704 - escaped first
