"""A plan as a page: whole in itself, and it says what the terminal says."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from plan_parts import fake_clock

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.lanes import PlanOptions
from advisor.plan.page import save_page
from advisor.plan.planner import make_plan
from advisor.tape.store import TapeStore


@pytest.fixture(scope="module")
def made():
    """A plan with a front to choose from."""
    estimator = Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))
    return make_plan(
        find_model("8B")[0],
        find_gpu("rtx-4090")[0],
        PlanOptions(),
        estimator,
        clock=fake_clock,
        assumed=("<b>a mark in a name</b>",),
    )


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    """Its page."""
    file = tmp_path_factory.mktemp("page") / "plan.html"
    save_page(made, file)
    return file.read_text()


def test_it_needs_no_network(page):
    """No address is loaded, no script runs."""
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#)", page)
    assert "url(" not in page
    assert "<script" not in page


def test_it_says_what_the_plan_says(page, made):
    """Each choice, each point of the front, each way that lost."""
    assert len(made.front) >= 3
    for choice in made.choices:
        assert choice.name in page
    for lost in made.alternatives:
        assert lost.label in page
    assert f"{made.front[0].tokens_per_second:,.0f}" in page
    assert page.count("the plan</small>") == 1


def test_its_drawing_is_whole(page, made):
    """SVG that parses, with a mark for each point, within its edges."""
    svg = page[
        page.index("<svg", page.index('class="panel"')) : page.index("</svg>", page.index('class="panel"'))
        + 6
    ]
    root = ET.fromstring(svg)
    marks = [e for e in root.iter() if "mark" in e.get("class", "").split()]
    rings = [e for e in root.iter() if e.get("fill") == "none" and e.get("r")]

    assert len(made.front) == len(marks)
    assert 1 == len(rings)
    assert all(0 <= float(e.get("cx")) <= 360 and 0 <= float(e.get("cy")) <= 250 for e in rings)


def test_what_others_wrote_is_text(page):
    """Nothing in an assumption becomes markup."""
    assert "<b>a mark" not in page
    assert "&lt;b&gt;a mark" in page


def test_a_page_is_never_overwritten(made, tmp_path):
    """Unless it is forced."""
    file = tmp_path / "plan.html"
    save_page(made, file)
    with pytest.raises(AdvisorError, match="exists"):
        save_page(made, file)
    save_page(made, file, force=True)
