"""The predicted figures beside the measured, as a document and as a table."""

import io
import json

import pytest
from rich.console import Console
from train_parts import plan_for

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.train.compare import comparisons, show_run
from advisor.train.report import DataFacts, Learned, RunReport, load_report, report_to_json
from advisor.train.verify import verify

PLAN = plan_for(MODEL_FOLDER)
MEASURED = {
    "static_bytes": 8_000_000,
    "peak_allocated_bytes": 160_000_000,
    "peak_reserved_bytes": 250_000_000,
    "peak_device_bytes": None,
    "alloc_retries": 0,
    "phases": {"forward": {"peak_allocated_bytes": 160_000_000, "peak_reserved_bytes": 250_000_000}},
    "step_seconds": [9.0, 0.1, 0.3, 0.2],
}


def report(card="Tesla T4", **measured):
    """A run, on a card or on a CPU."""
    return RunReport(
        planned=PLAN,
        config=PLAN.config,
        changes=(),
        rehearsal=None,
        random_weights=False,
        cap_bytes=None,
        measured=MEASURED | measured,
        learned=Learned(
            steps=4,
            planned_steps=4,
            learning_rate=2e-4,
            learning_rate_reason="as asked",
            warmup_steps=0,
            seed=0,
            trainable_parameters=10,
            losses=(3.0, 2.0),
            evaluation_before=3.5,
            evaluation_after=2.5,
        ),
        data=DataFacts(format="text", examples=1, tokens=2, blocks=3, passes=1.0, held_out_blocks=1),
        environment={"card": card},
        saved="adapter",
        notes=(),
    )


def shown(document):
    """The text of the terminal."""
    console = Console(file=io.StringIO(), width=160)
    show_run(document, console)
    return console.file.getvalue()


def test_each_figure_stands_beside_its_prediction():
    """And says how far off it was; what was not measured is off by nothing."""
    rows = {row.label: row for row in comparisons(report_to_json(report()))}

    assert pytest.approx(rows["peak allocated"].error) == 0.25
    assert rows["peak reserved"].error == 0.0
    assert rows["peak of the card (NVML)"].error is None
    assert pytest.approx(rows["  in forward"].error) == 0.25
    assert (rows["a step"].predicted, rows["a step"].measured) == (0.1, 0.2)


def test_a_figure_outside_of_its_range_is_told(tmp_path):
    """In range, out of range, or nobody knows: three answers, and a verdict."""
    document = report_to_json(report(peak_allocated_bytes=205_000_000, peak_reserved_bytes=261_000_000))
    rows = {row.label: row.in_range for row in comparisons(document)}
    (tmp_path / "run.json").write_text(json.dumps(document | {"saved": None}))
    made = verify(tmp_path)

    assert (rows["peak allocated"], rows["peak reserved"]) == (True, False)
    assert rows["peak of the card (NVML)"] is None
    assert rows["  in forward"] is None
    assert not made.holds
    assert "peak reserved" in [row.label for row in made.outside]


@pytest.mark.parametrize("phases", [5, "forward", [7, None], [{"phase": "forward"}], [{"phase": [], "x": 1}]])
def test_phases_that_a_plan_says_amiss_are_unknown(phases):
    """A plan is hostile until it has been read, and a run that ended well must not fail in its last table."""
    document = report_to_json(report())
    document["predicted"] = document["predicted"] | {"phases": phases}
    rows = {row.label: row for row in comparisons(document)}

    assert rows["  in forward"].predicted is None
    assert rows["  in forward"].measured is not None


def test_after_a_fallback_nothing_is_compared(tmp_path):
    """The plan predicted another configuration; what happened is told."""
    document = report_to_json(report()) | {"fallbacks": [{"text": "step 3 ran out of memory"}]}
    rows = comparisons(document)
    text = shown(document)

    assert all(row.predicted is None and row.in_range is None for row in rows)
    assert "Fell back: step 3 ran out of memory." in text
    assert "nothing is compared" in text


@pytest.mark.parametrize("saved", ["../elsewhere", 7, "/etc"])
def test_a_run_file_that_points_elsewhere_is_refused(tmp_path, saved):
    """It is hostile until it has been read."""
    (tmp_path / "run.json").write_text(json.dumps(report_to_json(report()) | {"saved": saved}))

    with pytest.raises(AdvisorError, match="names no folder of weights"):
        verify(tmp_path)


def test_a_folder_without_a_run_is_no_run(tmp_path):
    """One that was killed is told how it goes on."""
    with pytest.raises(AdvisorError, match="holds no run that ended"):
        verify(tmp_path)


def test_the_first_step_is_no_speed():
    """It warms up; the median of the others counts."""
    assert report().planned.config.tokens_per_step / 0.2 == report().tokens_per_second
    assert report(step_seconds=[]).tokens_per_second == 0.0


def test_a_cpu_is_not_compared_with_a_card():
    """Its speed is told apart, its memory is a dash, and the basis says why."""
    nothing = dict.fromkeys(key for key in MEASURED if key.endswith("_bytes"))
    text = shown(report_to_json(report(card=None, phases={}, **nothing)))

    assert "Predicted for Tesla T4 beside measured" in text
    assert "GPU memory is not, for there is no CUDA card here" in text
    assert "%" not in text
    assert "Held-out loss: 3.500 before, 2.500 after." in text


def test_the_table_speaks_in_units():
    """Small sizes in MiB, others in GiB, and a signed error."""
    text = shown(report_to_json(report()))

    assert "0.19 GiB" in text
    assert "+25.0%" in text
    assert "7.6 MiB" in text


def test_a_report_is_read_back(tmp_path):
    """As it was written; what is no report is refused."""
    document = report_to_json(report())
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))

    assert document == load_report(path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"kind": "plan"}', '{"kind": "run", "schema": 2}', "[" * 100_000]
)
def test_what_is_no_report_is_refused(tmp_path, content):
    """Hostile or merely other files."""
    path = tmp_path / "run.json"
    path.write_text(content)

    with pytest.raises(AdvisorError):
        load_report(path)
