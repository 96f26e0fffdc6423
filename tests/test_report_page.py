"""What a report looks like as a file: one page that needs nothing, readable in the light and in the dark."""

import random
import re
import time
from html.parser import HTMLParser
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest
from report_parts import many_rows, measured, synthetic_card

from advisor.records import Precision
from bench.report.build import texts

VOID = {"meta", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Tags, ids and links of a page; `wrong` holds what was closed that was not open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.tags, self.ids, self.links = [], [], [], [], []
        self.named = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in {"href", "src", "srcset", "xlink:href"}:
                self.links.append(value)
            if key == "aria-labelledby":
                self.named |= set(value.split())

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def written():
    """Both files of a whole card."""
    return texts(synthetic_card(many_rows()))


@pytest.fixture(scope="module")
def page(written):
    """The page, read."""
    return Page(written[".html"])


def test_the_same_rows_make_the_same_bytes_in_any_order(written):
    """Whatever order files are read in."""
    rows = many_rows()
    random.Random(3).shuffle(rows)

    assert [row.id for row in rows] != [row.id for row in many_rows()]
    assert written == texts(synthetic_card(rows))


def test_the_page_needs_nothing_but_itself(page, written):
    """No script, no style sheet, no image, no font, no address but places in the page."""
    names = {tag for tag, _ in page.tags}

    assert len(page.links) > 5
    assert all(link.startswith("#") for link in page.links)
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not re.search(r"url\(|@import|@font-face|https?:", written[".html"])


def test_the_page_is_well_formed(page):
    """Every tag is closed in its turn, every id stands once, every link and name leads to one."""
    assert not page.wrong
    assert not page.open
    assert len(page.ids) == len(set(page.ids)) > 50
    assert {link[1:] for link in page.links} | page.named <= set(page.ids)


def test_tables_and_drawings_say_what_they_are(page):
    """Headings have a scope, drawings a title and a description, boxes that scroll can be reached by key."""
    headings = [attrs for tag, attrs in page.tags if tag == "th"]
    drawings = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    boxes = [attrs for _, attrs in page.tags if attrs.get("class") == "scroll"]

    assert len(headings) > 100
    assert all(attrs.get("scope") in {"col", "row", "rowgroup"} for attrs in headings)
    assert len(drawings) > 20
    assert all(2 == len(attrs["aria-labelledby"].split()) for attrs in drawings)
    assert len(boxes) > 10
    assert all(attrs["tabindex"] == "0" and attrs["aria-labelledby"] for attrs in boxes)
    assert ("html", {"lang": "en"}) in page.tags


def test_drawings_are_xml_with_no_mark_astray(written):
    """Every mark, line and word begins inside its drawing, or a word's height beside it."""
    svgs = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", written[".html"], flags=re.DOTALL)]
    marks = [mark for svg in svgs for mark in svg.iter() if mark.tag in {"circle", "polygon"}]
    astray = [
        (axis, place)
        for svg in svgs
        for axis, size in zip("xy", svg.get("viewBox").split()[2:], strict=True)
        for place in places(svg, axis)
        if not -12 <= place <= float(size) + 12
    ]

    assert len(svgs) > 20
    assert len(marks) > 300
    assert not astray


def places(svg, axis):
    """Where things lie along an axis."""
    for thing in svg.iter():
        yield from (float(thing.get(axis + end, "0")) for end in ("", "1", "2"))
        yield float(thing.get(f"c{axis}", "0"))
        for corner in thing.get("points", "").split():
            yield float(corner.split(",")["xy".index(axis)])


def test_text_from_rows_can_not_become_markup(written):
    """A reason with a bar and an angle bracket stays a reason in both files."""
    assert "no int8 | kernel for &lt;experts&gt;" in written[".html"]
    assert "no int8 \\| kernel for &lt;experts&gt;" in written[".md"]


def test_markdown_tables_are_whole(written):
    """Every line of a table has as many cells as its heading."""
    blocks = [b.splitlines() for b in written[".md"].split("\n\n") if b.startswith("|")]
    bars = [{len(re.findall(r"(?<!\\)\|", line)) for line in block} for block in blocks]

    assert len(blocks) > 10
    assert all(1 == len(counts) for counts in bars)


def test_each_precision_has_a_colour_and_a_shape_of_its_own(written):
    """So that colour is not all that tells them apart."""
    shapes = {}
    for precision in Precision:
        tags = re.findall(rf'<(\w+) class="mark s-{precision.value}"([^>]*)>', written[".html"])
        shapes[precision] = tags[0][0], len(re.findall(r",", tags[0][1])), tags[0][1]

    assert len(Precision) == len(set(shapes.values()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_from_the_paper(scheme):
    """Text by 4.5 to 1, marks by 3 to 1, as WCAG 2.2 asks."""
    css = files("advisor.pictures").joinpath("page.css").read_text()
    parts = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", parts[["light", "dark"].index(scheme)]))
    text = {"ink", "quiet", "link", "alarm"}
    marks = {p.value for p in Precision}

    assert text | marks <= set(colours)
    for name in text | marks:
        least = 4.5 if name in text else 3.0
        assert least <= contrast(colours[name], colours["paper"]), name


def contrast(one, other):
    """The ratio of relative luminances."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_two_hundred_rows_take_less_than_five_seconds():
    """Without their predictions."""
    card = synthetic_card([*many_rows(), *(measured(sequence_length=n) for n in range(256, 264))])
    begin = time.perf_counter()
    texts(card)

    assert len(card.rows) > 200
    assert time.perf_counter() - begin < 5
