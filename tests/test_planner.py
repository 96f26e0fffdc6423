"""Plans from the shipped tapes: what is chosen, why, and what is said of the rest."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError, ExitCode
from advisor.estimate import Estimator
from advisor.plan.document import load_plan, plan_to_json, save_plan
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import find_best, make_plan, open_search
from advisor.records import Checkpointing, Loss, Method, Precision, config_from_json
from advisor.replay.memory import FIRST_STEP, LATER_STEPS
from advisor.step.observe import Phase
from advisor.tape.store import TapeStore
from advisor.units import GIB

CLOCK = None  # the estimator's own
GOLDEN = Path(__file__).parent / "golden" / "plans"
# Name of the file, card, model, what the user fixed.
PLANS = {
    "8b-on-16gb": ("16GB", "8B", PlanOptions()),
    "8b-on-rtx-4060-ti": ("rtx-4060-ti-16gb", "8B", PlanOptions()),
    "3b-on-24gb": ("24GB", "3B", PlanOptions()),
    "half-b-full-on-16gb": ("rtx-4060-ti-16gb", "0.5B", PlanOptions(method=Method.FULL)),
    "70b-on-80gb": ("80GB", "70B", PlanOptions()),
    "1b-on-h200": ("h200", "1B", PlanOptions()),
    "14b-on-24gb": ("24GB", "14B", PlanOptions()),
}


@pytest.fixture(scope="module")
def estimator():
    """From shipped tapes alone: tracing is off."""
    return Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))


def plan(estimator, gpu, model, options):
    """The plan for the names."""
    return make_plan(find_model(model)[0], find_gpu(gpu)[0], options, estimator, clock=CLOCK)


def facts(made) -> dict:
    """What of a plan a change should show in a diff: choices and rounded figures, no versions."""
    return {
        "card": made.card.name,
        "config": made.config.to_json(),
        "allocated_gib": round(made.estimate.peak_allocated_bytes.value / GIB, 2),
        "reserved_gib": round(made.estimate.peak_reserved_bytes.value / GIB, 2),
        "choices": {c.name: [c.value, c.reason.code] for c in made.choices},
        "not_chosen": [
            [a.label, a.reason.code, a.lower_bound, round(a.needed_bytes / GIB, 1)] for a in made.alternatives
        ],
    }


@pytest.mark.parametrize("name", PLANS)
def test_a_changed_plan_shows_in_the_diff(estimator, name):
    """`python tests/test_planner.py` writes these files anew."""
    expected = json.loads((GOLDEN / f"{name}.json").read_text())

    assert expected == facts(plan(estimator, *PLANS[name]))


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_fits_its_card(estimator, name):
    """At the upper end of the interval, every phase included."""
    gpu, model, options = PLANS[name]
    made = plan(estimator, gpu, model, options)

    assert made.estimate.peak_reserved_bytes.high <= made.card.usable_bytes
    assert made.estimate.minimum_reserved_bytes <= made.estimate.peak_reserved_bytes.value
    assert {*(phase.value for phase in Phase), FIRST_STEP, LATER_STEPS} == {
        name for name, _ in made.estimate.phases
    }
    assert made.config.evaluates
    assert max(bytes_ for _, bytes_ in made.estimate.phases) == made.estimate.peak_allocated_bytes.value
    assert sum(b for _, b in made.estimate.at_peak) == made.estimate.peak_allocated_bytes.value


def test_sixteen_gigabytes_take_qlora_of_eight_billion(estimator):
    """The main job: fp16 on a card without bf16, and 16-bit LoRA rejected with its number."""
    made = plan(estimator, "16GB", "8B", PlanOptions())
    rejected = {a.label: a for a in made.alternatives}

    assert made.config.precision is Precision.NF4
    assert made.config.autocast.value == "fp16"
    assert made.config.effective_batch == 16
    assert rejected["FP16 LoRA"].needed_bytes > made.card.usable_bytes
    assert rejected["FP16 LoRA"].reason.code == "does-not-fit"


def test_every_precision_and_method_is_weighed(estimator):
    """Five precisions, three methods: chosen or among the alternatives, each with a number."""
    made = plan(estimator, "rtx-4090", "1B", PlanOptions())
    weighed = [made.config, *(a.config for a in made.alternatives)]

    assert {"fp32", "fp16", "bf16", "int8", "nf4"} == {c.precision.value for c in weighed}
    assert {"lora", "full", "last-layers"} == {c.method.value for c in weighed}
    assert all(a.needed_bytes > 0 for a in made.alternatives)


def test_every_choice_says_why(estimator):
    """No dimension without a reason."""
    made = plan(estimator, "16GB", "8B", PlanOptions())

    assert len(made.choices) >= 11
    assert all(c.reason.code and c.reason.text for c in made.choices)


def test_a_large_card_keeps_all_activations(estimator):
    """Where everything fits, nothing is computed twice and nothing is quantised."""
    made = plan(estimator, "h200", "1B", PlanOptions())

    assert made.config.checkpointing is Checkpointing.NONE
    assert made.config.precision is Precision.BF16


def test_the_plan_is_on_its_own_front(estimator):
    """And no point of the front beats another in memory, speed and worth at once."""
    made = plan(estimator, "rtx-4090", "8B", PlanOptions())
    best = [(p.needed_bytes, -p.tokens_per_second, -p.worth) for p in made.front]

    assert 1 == sum(p.chosen for p in made.front)
    assert len(best) >= 3
    for one, other in permutations(best, 2):
        assert any(a < b for a, b in zip(one, other, strict=True))


def test_the_question_is_part_of_the_document(estimator):
    """Goal, risk, how many were weighed, and the front with its configs."""
    document = plan_to_json(
        plan(estimator, "rtx-4090", "8B", PlanOptions(goal=Goal.FASTEST, risk=0.05, loss=Loss.CHUNKED))
    )

    assert ("fastest", 0.05) == (document["goal"], document["risk"])
    assert document["examined"] >= len(document["front"]) >= 1
    assert all(config_from_json(point["config"]) for point in document["front"])


def test_a_reserve_is_left_alone(estimator):
    """What is kept for a display is not planned for."""
    free = plan(estimator, "rtx-4060-ti-16gb", "8B", PlanOptions())
    shared = plan(estimator, "rtx-4060-ti-16gb", "8B", PlanOptions(reserve_bytes=6 * GIB))

    assert free.card.usable_bytes - 6 * GIB == shared.card.usable_bytes
    assert shared.estimate.peak_reserved_bytes.high < free.estimate.peak_reserved_bytes.high


def test_nothing_fits_is_an_answer_with_a_way_out(estimator):
    """Exit code 1, the number that decided, and what to do."""
    with pytest.raises(AdvisorError) as caught:
        plan(estimator, "16GB", "70B", PlanOptions())

    assert caught.value.exit_code is ExitCode.NO
    assert "Nothing fits" in caught.value.what
    assert "GiB of 14.39 GiB" in caught.value.why
    assert caught.value.fix


def test_a_sequence_beyond_the_positions_is_said(estimator):
    """It may fit and still be more than the model knows."""
    made = plan(estimator, "h200", "0.5B", PlanOptions(sequence_length=65_536))

    assert any("32,768 positions" in line for line in made.assumptions)


def test_what_excludes_itself_is_said(estimator):
    """Quantised weights have no gradient."""
    with pytest.raises(AdvisorError, match="No way to train"):
        plan(estimator, "h200", "1B", PlanOptions(method=Method.FULL, precision=Precision.NF4))


def test_a_card_without_bf16_is_never_given_bf16():
    """Every lane that computes in bf16 says that the card can't."""
    card = find_gpu("t4")[0]
    computed = [lane for lane in lanes(card, PlanOptions(), find_model("1B")[0]) if not lane.unsupported]

    assert len(computed) >= 4
    assert all(lane.config.autocast.value == "fp16" for lane in computed)


def test_int8_is_checkpointed_reentrantly():
    """Non-reentrant checkpointing would keep every 8-bit layer's input."""
    card = find_gpu("h200")[0]
    kinds = {
        lane.config.precision: lane.checkpointing for lane in lanes(card, PlanOptions(), find_model("1B")[0])
    }

    assert kinds[Precision.INT8] is Checkpointing.REENTRANT
    assert kinds[Precision.NF4] is Checkpointing.NON_REENTRANT


def test_a_size_stands_for_the_least_card_of_that_size():
    """So that a plan for the size runs on each of them that counts."""
    card, assumed = find_gpu("16GB")

    assert usable_bytes(card) < usable_bytes(find_gpu("rtx-4060-ti-16gb")[0])
    assert "16GB" in assumed[0]


def test_a_plan_file_comes_back_as_it_went(estimator, tmp_path):
    """What `run` needs of it, to the byte; and it is not overwritten."""
    made = plan(estimator, "16GB", "8B", PlanOptions())
    path = tmp_path / "plan.json"
    save_plan(made, path)

    read = load_plan(path)

    assert made.config == read.config
    assert made.model == read.model
    assert made.card == read.card
    assert made.estimate.to_json() == read.estimate
    with pytest.raises(AdvisorError, match="exists"):
        save_plan(made, path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"schema": 99}, "schema 99"),
        ({"kind": "run"}, "kind"),
        ({"config": {"micro_batch": -1}}, "micro_batch"),
        ({"gpu": {}}, "name"),
        ({"model": []}, "not a plan"),
    ],
)
def test_a_broken_plan_file_is_one_clear_error(estimator, tmp_path, change, word):
    """A plan file is hostile until it has been read."""
    document = plan_to_json(plan(estimator, "16GB", "8B", PlanOptions())) | change
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))

    with pytest.raises(AdvisorError) as caught:
        load_plan(path)

    assert word in str(caught.value)


def test_shipped_tapes_answer_for_every_common_model(estimator):
    """Sizes that have shipped tapes plan without a trace, on old cards and new: the ends, and those that people ask for."""
    from bench.ship_tapes import CARDS, MODELS

    assert len(MODELS) >= 8
    for model in (MODELS[0], MODELS[1], MODELS[4], MODELS[-1]):
        for card in CARDS:
            big = replace(find_gpu(card)[0], memory_bytes=400 * GIB)
            search = open_search(find_model(model)[0], big, PlanOptions(), estimator, CLOCK)
            found = find_best(search, lanes(big, PlanOptions(), find_model(model)[0]))
            assert found is not None
            assert found.exact


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    source = Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False))
    for file, asked in PLANS.items():
        (GOLDEN / f"{file}.json").write_text(json.dumps(facts(plan(source, *asked)), indent=1) + "\n")
