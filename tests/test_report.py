"""The sections of a report say what the rows say. Rows here are made up; see `report_parts`."""

from dataclasses import replace

import pytest
from report_parts import many_rows, measured, predicted, synthetic_card

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.pictures.document import Figure, Missing, Table
from advisor.profiles.record import Outcome, SmallestCap
from advisor.records import Checkpointing, Loss, Method, Precision
from advisor.units import GIB, MIB
from bench.report.build import build
from bench.report.caps import caps
from bench.report.card_classes import fitting_class
from bench.report.energy import energy
from bench.report.forecast import forecast, misses
from bench.report.frontier import edges, frontier
from bench.report.growth import growth
from bench.report.matrix import matrix
from bench.report.overview import by_class, largest, largest_within
from bench.report.pareto import front, pareto
from bench.report.reading import card_rows
from bench.report.surroundings import surroundings


@pytest.fixture(scope="module")
def card():
    """A whole card's rows."""
    return synthetic_card(many_rows())


def table_of(section, name):
    """The rows of a table by their first cell, as text."""
    table = next(b for b in section.blocks if isinstance(b, Table) and b.name == name)
    titles = [column.title for column in table.columns]
    return [
        {"group": group.title, **dict(zip(titles, (" / ".join(c.lines) for c in row), strict=True))}
        for group in table.groups
        for row in group.rows
    ]


def test_the_made_up_card_has_something_of_everything(card):
    """So that the tests on it can fail."""
    outcomes = [row.outcome for row in card.rows]

    assert len(card.rows) > 190
    assert set(Outcome) == set(outcomes)
    assert outcomes.count(Outcome.OOM) > 10
    assert any(row.cap_bytes for row in card.ran) is False
    assert any(row.cap_bytes for row in card.rows)


def test_a_later_row_replaces_an_earlier_one_and_an_unshared_a_shared_one():
    """In tables and drawings; both are still counted."""
    old, new = measured(id_="old"), replace(measured(id_="new"), measured_at="2026-11-26T00:00:00Z")
    shared = replace(new, id="shared", shared=True, measured_at="2026-11-27T00:00:00Z")
    card = synthetic_card([shared, new, old])

    assert ["new"] == [row.id for row in card.current]
    assert 3 == len(card.rows)


def test_the_largest_batch_is_by_tokens_and_of_equals_the_one_that_takes_least():
    """Not by sequences, and not the fastest."""
    plain = measured(micro_batch=8, sequence_length=512)
    long = measured(micro_batch=2, sequence_length=4096)
    saving = measured(micro_batch=2, sequence_length=4096, checkpointing=Checkpointing.REENTRANT)

    assert (saving,) == largest((plain, saving, long))


def test_methods_and_precisions_have_a_largest_batch_each():
    """A row of another way does not hide it."""
    rows = (measured(), measured(precision=Precision.NF4), measured(method=Method.FULL))

    assert {row.id for row in rows} == {row.id for row in largest(rows)}


def test_a_class_fits_up_to_its_usable_memory_and_not_a_byte_more():
    """As the catalog has it, not as the box says."""
    usable = usable_bytes(find_gpu("16GB")[0])

    assert "16 GB" == fitting_class(usable)
    assert "24 GB" == fitting_class(usable + 1)
    assert "over 80 GB" == fitting_class(100 * GIB)


def test_each_class_names_the_largest_model_that_fits_it(card):
    """No measured row of a larger model takes less than the class gives."""
    named = by_class(card)
    limit = usable_bytes(find_gpu("24GB")[0])
    fitting = [row.model for row in card.ran if row.peak_reserved_bytes <= limit]

    assert len(named) > 4
    assert "qwen3-30b-a3b" == largest_within(card.ran, limit).model
    assert "qwen2.5-32b" not in fitting
    assert "40 to 48 GB" in [name for name, _ in named]


def test_a_smaller_card_is_not_set_beside_larger_ones():
    """Its rows say nothing of what takes more than it has."""
    row = replace(measured(precision=Precision.NF4), card="rtx-4090")
    card = card_rows("rtx-4090", [row], [], {})

    assert [("8 GB or more", row)] == list(by_class(card))
    assert "Fine-tuning on the NVIDIA GeForce RTX 4090" == build(card).title


def test_a_cell_of_the_matrix_is_memory_and_speed_or_oom_or_empty():
    """Nothing stands for what was not measured; a shared card has no speed."""
    small = measured(micro_batch=1)
    rows = [small, measured(micro_batch=16, sequence_length=2048), measured("llama-3.1-70b", micro_batch=4)]
    shared = replace(measured(micro_batch=4), shared=True)
    section = matrix(synthetic_card([*rows, shared, measured(precision=Precision.NF4, micro_batch=16)]))
    bf16, nf4 = table_of(section, "matrix-llama-3.2-1b")

    assert (
        f"{small.peak_reserved_bytes / GIB:.2f} GiB / {small.tokens_per_second:,.0f} tok/s" == bf16["batch 1"]
    )
    assert f"{shared.peak_reserved_bytes / GIB:.2f} GiB / shared card" == bf16["batch 4"]
    assert not nf4["batch 1"]
    assert "oom" == table_of(section, "matrix-llama-3.1-70b")[0]["batch 4"]


def test_capped_rows_stay_out_of_the_matrix():
    """Their memory is not what the step takes when it may."""
    free, capped = measured(), replace(measured(cap_bytes=12 * GIB, micro_batch=2), alloc_retries=3)
    rows = table_of(matrix(synthetic_card([free, capped])), "matrix-llama-3.2-1b")

    assert "batch 2" not in rows[0]


def test_rows_that_differ_otherwise_have_lines_of_their_own():
    """Loss, optimizer, accumulation: what is not in the columns is in the line."""
    rows = [measured(), measured(loss=Loss.STOCK), measured(optimizer="paged_adamw_8bit")]
    lines = table_of(matrix(synthetic_card(rows)), "matrix-llama-3.2-1b")

    assert {"none / chunked loss", "none / stock loss", "none / chunked loss, paged_adamw_8bit"} == {
        line["Checkpointing"] for line in lines
    }


def test_nothing_beats_the_front_and_the_front_beats_the_rest(card):
    """In memory and speed, for every model."""
    for model in {row.model for row in card.ran}:
        rows = tuple(row for row in card.ran if row.model == model and row.tokens_per_second)
        best = front(rows)

        assert not [a for a in best for b in rows if beats(b, a)]
        assert all(any(beats(b, row) for b in best) for row in rows if row not in best)


def beats(one, other):
    """No worse in both and better in one."""
    memory = one.peak_reserved_bytes - other.peak_reserved_bytes
    speed = one.tokens_per_second - other.tokens_per_second
    return memory <= 0 <= speed and (memory, speed) != (0, 0)


def test_a_misprediction_is_counted_outside_its_interval():
    """Predictions 1.67 % too low and too high, with intervals from 1 % below to 2 % above, and an exact one."""
    rows = [measured(micro_batch=n) for n in (1, 2, 4)]
    compared = [predicted(row, error) for row, error in zip(rows, (-5 / 300, 5 / 300, 0), strict=True)]
    card = replace(synthetic_card(rows), figures={one.id: one.figures for one in compared})
    summary = next(r for r in table_of(forecast(card), "errors") if r["group"].startswith("Reserved"))

    assert [True, False, True] == [miss.inside for miss in misses(card, "reserved")]
    assert "2 of 3" == summary["Inside"]
    assert ("1.11%", "1.67%") == (summary["Mean"], summary["Median"])
    assert ("\N{MINUS SIGN}1.67%", "+1.67%") == (summary["Worst under"], summary["Worst over"])


def test_a_shared_cards_own_figure_is_not_held_against_the_prediction():
    """NVML counts the other process, too; torch's figures count."""
    rows = table_of(forecast(synthetic_card([replace(measured(), shared=True)])), "errors")

    assert 2 == len(rows)
    assert not [row for row in rows if row["group"].startswith("On the card")]


def test_the_edge_lies_between_the_largest_that_ran_and_the_smallest_that_did_not():
    """Among rows that differ in the batch alone, under one limit."""
    sizes = {n: measured("llama-3.1-8b", micro_batch=n) for n in (2, 32, 4, 16, 8)}
    capped = [measured("llama-3.1-8b", micro_batch=n, cap_bytes=20 * GIB) for n in (1, 2)]
    assert {2, 4, 8} == {n for n, row in sizes.items() if row.outcome is Outcome.OK}

    whole, cap = edges(synthetic_card([*sizes.values(), *capped]))

    assert (sizes[8], sizes[16]) == (whole.largest_ran, whole.smallest_oom)
    assert (None, capped[0]) == (cap.largest_ran, cap.smallest_oom)


def test_a_way_that_never_ran_out_has_no_edge():
    """There is nothing to show of it."""
    assert () == edges(synthetic_card([measured(micro_batch=n) for n in (1, 2)]))


def test_each_cap_stands_beside_what_the_replay_says():
    """Without retries and with them; a row whose cap nobody looked for has no line."""
    row = measured(micro_batch=4)
    cap = SmallestCap(without_retries_bytes=4 * GIB, with_retries_bytes=3 * GIB, resolution_bytes=16 * MIB)
    found = replace(row, smallest_cap=cap)
    card = synthetic_card([found, measured(micro_batch=2)])
    card = replace(card, figures={row.id: predicted(found, 0.02).figures})
    (line,) = table_of(caps(card), "caps")

    assert "4.00 GiB / replay 0.00%" == line["Without retries"]
    assert "3.00 GiB / replay +2.00%" == line["With retries"]
    assert "16 MiB" == line["Resolution"]


def test_energy_is_power_over_speed():
    """500 W at so many tokens a second."""
    row = measured(watts=500.0)
    line = table_of(energy(synthetic_card([row])), "thriftiest")[0]

    assert 1000 * 500 / row.tokens_per_second == pytest.approx(float(line["J for 1,000 tokens"]), rel=0.01)
    assert "500" == line["Mean W"]


def test_every_row_is_counted_and_every_reason_is_told(card):
    """Repeats and capped rows, too; reasons of what failed."""
    section = surroundings(card)
    counts = {line["Outcome"]: int(line["Rows"]) for line in table_of(section, "outcomes")}

    assert {o.value: sum(r.outcome is o for r in card.rows) for o in Outcome} == counts
    assert {"it died", "no int8 | kernel for <experts>"} == {
        line["Reason"] for line in table_of(section, "reasons")
    }


@pytest.mark.parametrize("part", [growth, pareto, forecast, frontier, caps, energy])
def test_what_the_rows_can_not_fill_is_left_out_with_a_reason(part):
    """A single row that shared the card: nothing to compare, no power, no edge."""
    row = replace(measured(), shared=True)
    card = replace(synthetic_card([row]), figures={})
    made = part(card)

    assert isinstance(made, Missing)
    assert made.why


def test_no_figure_is_ever_empty(card):
    """Not of a full card, and not of each of its rows alone."""
    documents = [build(card), *(build(synthetic_card([row])) for row in card.rows[::20])]
    figures = [b for d in documents for s in d.sections for b in s.blocks if isinstance(b, Figure)]

    assert len(figures) > 10
    assert all(f.panels and all("mark" in p.svg or "cross" in p.svg for p in f.panels) for f in figures)
