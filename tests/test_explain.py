"""What is alive at the peak, the course of a step, and the levers: figures that add up, changes that do what they say."""

import json
import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from cli_parts import advisor
from test_report_page import Page
from transformers.models.llama import modeling_llama

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import model_from_config
from advisor.estimate import Estimator
from advisor.explain import changes, explain
from advisor.explain_drawing import CATEGORIES
from advisor.explain_page import explain_page
from advisor.records import config_from_json
from advisor.tape.store import TapeStore
from advisor.units import gib, size

CARD = find_gpu("rtx-4090")[0]
TINY = model_from_config(
    {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 32003,
    },
    "tiny",
)[0]
CONFIG = config_from_json({"micro_batch": 4, "sequence_length": 2048})


@pytest.fixture(scope="module")
def one(estimator):
    """A LoRA step without checkpointing and with the stock loss."""
    return explain(TINY, CONFIG, CARD, estimator)


def test_what_is_alive_adds_up_to_the_peak(one):
    """But for what the allocator hands out beyond a request."""
    total = sum(share.size_bytes for share in one.shares)

    assert total <= one.peak_allocated_bytes < total * 1.01
    assert total == sum(one.by_category().values())


def test_categories_are_those_of_the_estimate(one, estimator):
    """The same peak, told twice."""
    told = dict(estimator.estimate(TINY, CONFIG, CARD).at_peak)

    assert one.by_category() == {k: v for k, v in told.items() if k != "rounding" and v}


def test_the_course_reaches_the_peak_and_begins_with_the_weights(one):
    """Its highest moment is the peak, its first what was loaded."""
    heights = [moment.allocated_bytes for moment in one.moments]

    assert one.peak_allocated_bytes * 0.99 < max(heights) <= one.peak_allocated_bytes
    assert heights[0] < max(heights) / 2
    assert {"forward", "backward", "optimizer"} <= {moment.phase for moment in one.moments}


def test_a_lever_saves_what_the_changed_config_needs_less(one, estimator):
    """Asked for itself, the changed config has the peak that the lever promised."""
    lever = next(lever for lever in one.levers if lever.change == "checkpointing non-reentrant")
    changed = config_from_json(CONFIG.to_json() | {"checkpointing": "non-reentrant"})
    needs = estimator.outcome(TINY, changed, CARD).peak_reserved_bytes

    assert one.peak_reserved_bytes - needs == lever.saved_reserved_bytes > 0
    assert lever.cost == "each layer is computed twice"


def test_levers_come_in_order_and_none_is_what_is_there_already(one):
    """The largest saving first; a checkpointed config is not told to checkpoint."""
    saved = [lever.saved_reserved_bytes for lever in one.levers]
    small = config_from_json({"checkpointing": "non-reentrant", "loss": "chunked", "sequence_length": 512})
    names = {name for name, _, _ in changes(small)}

    assert saved == sorted(saved, reverse=True)
    assert {"chunked loss", "micro-batch 2", "NF4 base"} <= {lever.change for lever in one.levers}
    assert {lever.change for lever in one.levers} == {name for name, _, _ in changes(CONFIG)}
    assert names
    assert not {name for name in names if name.startswith(("checkpointing", "chunked", "micro-batch"))}


def test_8_bit_is_told_to_checkpoint_reentrantly(estimator):
    """LLM.int8 keeps every layer's input through the other kind: the change costs nothing and saves."""
    few = {"optimizer": "adamw_8bit", "lora_targets": ["q_proj", "v_proj"], "adapter_dtype": "bf16"}  # levers
    config = config_from_json(
        few | {"precision": "int8", "checkpointing": "non-reentrant", "loss": "chunked", "micro_batch": 2}
    )
    lever = next(
        lever
        for lever in explain(TINY, config, CARD, estimator).levers
        if lever.change == "checkpointing reentrant"
    )

    assert lever.saved_allocated_bytes > 0


def said(*words):
    """Exit code and output of `advisor explain`."""
    run = advisor("explain", *words)
    return run.returncode, run.stdout, run.stderr


ROW = json.dumps({"model": TINY.config, "gpu": "rtx-4090", "micro_batch": 4, "sequence_length": 2048})


@pytest.mark.usefixtures("one")
def test_people_see_shares_course_and_levers():
    """In this order."""
    code, out, err = said(ROW)

    assert code == 0, err
    places = [out.index(words) for words in ("Alive at the peak", "▁", "One change alone", "checkpointing")]
    assert places == sorted(places)


def test_a_trace_with_lines_has_the_same_peak_and_names_the_code(one):
    """What a forward pass made has a line of transformers; weights keep their names."""
    store = TapeStore(lines=True)
    shares = Estimator(store).shares_at_peak(TINY, CONFIG, CARD)
    store.close()
    named = [share.module for share in shares if ".py:" in share.module]
    silu = next(name for name in named if "act_fn" in name)
    line, text = re.fullmatch(r"modeling_llama\.py:(\d+) (.*)", silu).groups()
    source = Path(modeling_llama.__file__).read_text().splitlines()

    assert sum(s.size_bytes for s in one.shares) == sum(s.size_bytes for s in shares)
    assert text.rstrip("…") in source[int(line) - 1]
    assert not [share for share in shares if share.category == "parameter" and ".py:" in share.module]
    told = sum(s.size_bytes for s in shares if s.category == "activation" and s.module in named)
    assert told > 0.95 * one.by_category()["activation"]  # the others are made by autograd's own engine


@pytest.mark.usefixtures("one")
def test_two_configs_are_compared_by_category():
    """What was changed, and by how much each category grew or shrank."""
    other = json.dumps(json.loads(ROW) | {"checkpointing": "non-reentrant"})
    code, out, err = said(ROW, "--compare", other)

    assert (code, err) == (0, "")  # and nothing is traced for levers that are not shown
    assert "checkpointing: none → non-reentrant" in out
    assert "peak reserved" in out


def test_a_plan_can_be_explained(tmp_path):
    """The file that `advisor plan -o` writes, as one JSON document."""
    plan = tmp_path / "plan.json"
    words = ("plan", "--gpu", "t4", "--model", "0.5B", "--method", "full")  # all but one lever ship
    assert 0 == advisor(*words, "-o", plan).returncode
    code, out, err = said(str(plan), "--json")
    document = json.loads(out)

    assert code == 0, err
    assert document["schema"] == 1
    assert document["explained"][0]["model"] == "qwen2.5-0.5b"
    assert document["explained"][0]["levers"]


def test_what_is_no_config_is_an_error():
    """A missing file, a bad row: three lines, no traceback."""
    for words in ("nowhere.json", '{"model": "8B", "precison": "nf4"}'):
        code, out, err = said(words)
        assert (code, out) == (2, "")
        assert "Traceback" not in err


@pytest.fixture(scope="module")
def text(one):
    """The page as text."""
    return explain_page(one, CARD, usable_bytes(CARD))


def test_every_moment_is_the_sum_of_its_categories(one):
    """And no category is one that the drawing does not know."""
    for moment in one.moments:
        assert moment.allocated_bytes == sum(moment.category_bytes.values())
        assert set(moment.category_bytes) <= set(CATEGORIES)


def test_the_highest_moment_holds_what_is_alive_at_the_peak(one):
    """The same peak, told by two parts of the program."""
    peak = max(one.moments, key=lambda moment: moment.allocated_bytes)

    assert {k: v for k, v in one.by_category().items() if v} == peak.category_bytes


def test_the_page_needs_nothing_but_itself(text):
    """Well-formed, no link that leaves it, no script."""
    page = Page(text)

    assert not page.wrong
    assert not page.open
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.named <= set(page.ids)
    assert "http" not in text
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "img", "iframe"}]


def test_there_is_a_drawing_for_a_desk_and_one_for_a_phone(text):
    """The sheet shows one of them, in the light and in the dark."""
    sheet = files("advisor.pictures").joinpath("memory.css").read_text()

    assert ["wide", "narrow"] == re.findall(r'<svg [^>]*class="(wide|narrow)"', text)
    assert "prefers-color-scheme: dark" in sheet
    assert sheet in text


def test_every_colour_that_is_drawn_is_in_both_sheets(text):
    """A class without a colour would be black on black."""
    sheet = files("advisor.pictures").joinpath("memory.css").read_text()
    drawn = set(re.findall(r'class="area c-([a-z-]+)"', text))

    assert {"parameter", "activation", "gradient", "optimizer-state"} <= drawn
    assert all(2 == len(re.findall(rf"--{name}: #", sheet)) for name in drawn)
    assert all(f".c-{name} {{" in sheet for name in drawn)


def test_areas_stand_on_each_other(text):
    """The upper edge of each is the lower edge of the next."""
    svg = re.search(r'<svg [^>]*class="wide".*?</svg>', text, re.DOTALL)[0]
    areas = [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polygon class="area[^"]*" points="([^"]+)"', svg)
    ]
    assert len(areas) >= 4
    for lower, upper in pairwise(areas):
        half = len(lower) // 2
        assert lower[:half] == upper[: half - 1 : -1]
        assert all(y2 <= y1 for (_, y1), (_, y2) in zip(lower[:half], upper[:half], strict=True))


def test_the_page_says_what_the_explanation_says(one, text):
    """Peak, phase, reserved, each category, each lever, and that it is simulated."""
    assert f"peak {gib(one.peak_allocated_bytes)}, {one.peak_phase}" in text
    assert f"reserved: {gib(one.peak_reserved_bytes)}" in text
    assert all(size(held) in text for held in one.by_category().values())
    assert all(lever.change in text for lever in one.levers)
    assert "Simulated, not measured" in text


def test_a_card_much_larger_than_the_peak_does_not_flatten_the_drawing(one):
    """Its line is left out."""
    small = explain_page(one, CARD, one.peak_reserved_bytes + (1 << 28))
    large = explain_page(one, CARD, one.peak_reserved_bytes * 2)

    assert "the card gives" in small
    assert "the card gives" not in large


def test_the_command_writes_the_page_and_keeps_what_is_there(tmp_path, one):
    """A second time it wants --force."""
    page = tmp_path / "page.html"
    first, written = said(ROW, "--html", str(page)), page.read_text()
    second = said(ROW, "--html", str(page))

    assert (0, "") == first[:2], first[2]
    assert " on NVIDIA GeForce RTX 4090</title>" in written
    assert (2, written) == (second[0], page.read_text())


def test_a_page_shows_one_config(tmp_path):
    """Two are compared on the terminal."""
    code, out, err = said(ROW, "--html", str(tmp_path / "page.html"), "--compare", ROW)

    assert (2, "") == (code, out)
    assert "A page shows one config" in err
