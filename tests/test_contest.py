"""Contests between a plan and its rivals: a list that `advisor bench` takes, and a verdict over rows."""

import json
from dataclasses import replace

import pytest
from plan_parts import fake_clock
from profile_parts import measured

from advisor.catalog.gpus import find_gpu, usable_bytes
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.plan import lanes
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.profiles.record import Outcome
from advisor.records import Precision
from advisor.units import GIB
from bench.contest import grid
from bench.contest.__main__ import cap_bytes, rows_of
from bench.contest.grid import make_contest
from bench.contest.judge import fields_of, judged
from bench.contest.report import dumps, markdown, to_json
from bench.request import STEPS
from bench.sweep import load_sweep

CARD, MODEL, CAP, RIVALS = "h100-80gb-sxm", "llama-3.2-1b", 8 * GIB, 12
OPTIONS = PlanOptions(goal=Goal.FASTEST, evaluates=False)


@pytest.fixture(scope="module", autouse=True)
def _few_traces():
    """Steps of one micro-batch are not shipped: a whole contest would trace dozens, this one some twelve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "liger_trains", lambda *_: False)
        patch.setattr(grid, "_PRECISIONS", (Precision.BF16, Precision.NF4))
        patch.setattr(grid, "_OPTIMIZERS", ("adamw_8bit",))
        patch.setattr(grid, "_BASES", 1)
        yield


@pytest.fixture(scope="module")
def contest(estimator):
    """A small model under a cap that makes it choose."""
    return make_contest(
        find_model(MODEL)[0],
        find_gpu(CARD)[0],
        CAP,
        estimator,
        options=OPTIONS,
        rivals=RIVALS,
        seconds_a_row=2.0,
        clock=fake_clock,
    )


def rows_for(contest, fastest, *, plan_tokens=1000.0, **of_plan):
    """A row for each of the contest: the plan's speed is given, one rival's too, the others are slow."""
    for number, request in enumerate((contest.plan, *contest.rivals)):
        speed = plan_tokens if number == 0 else fastest if number == 1 else 100.0 + number
        seconds = request.config.tokens_per_step / speed
        row = measured(
            number + 1,
            id=f"{number:016x}",
            card=CARD,
            config=request.config,
            cap_bytes=request.cap_bytes,
            step_seconds=(9.0, seconds, seconds),
            smallest_cap=None,
        )
        yield replace(row, **of_plan) if number == 0 else row


def test_every_row_takes_the_same_sequences_a_step_and_runs_under_the_cap(contest, estimator):
    """As many tokens a step in all, each predicted to run under the cap, none twice, none like the plan."""
    requests = (contest.plan, *contest.rivals)

    assert 1 + RIVALS == len({request.key for request in requests})
    assert {contest.sequences_a_step} == {request.config.effective_batch for request in requests}
    for request in requests:
        outcome = estimator.outcome(
            request.model, request.config, find_gpu(CARD)[0], cap_bytes=request.cap_bytes
        )
        assert not outcome.out_of_memory


def test_the_plan_itself_leaves_the_margin_of_its_risk(contest):
    """A rival may be bold; the plan never needs the whole cap."""
    assert contest.plan.predicted_bytes < CAP


def test_rows_last_as_long_as_was_asked(contest):
    """The effective batch is cut, but never below the plan's micro-batch."""
    seconds = fake_clock(contest.model, contest.plan.config, find_gpu(CARD)[0]).value * STEPS

    assert contest.sequences_a_step < OPTIONS.effective_batch
    assert seconds <= 2.0 or contest.sequences_a_step == contest.plan.config.micro_batch


def test_rivals_differ_in_more_than_one_way(contest):
    """Precision, checkpointing, micro-batch and allocator all vary among them."""
    for field in ("precision", "checkpointing", "micro_batch", "allocator"):
        assert len({getattr(request.config, field) for request in contest.rivals}) > 1
    learned = {(request.config.method, request.config.lora_rank) for request in contest.rivals}
    assert 1 == len(learned)


def test_the_list_is_one_that_bench_takes(contest, tmp_path):
    """Written, read and asked for again."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of([contest], CARD)))

    read = load_sweep(str(path)).requests

    assert {r.key for r in (contest.plan, *contest.rivals)} == {r.key for r in read}
    assert all(request.predicted_bytes for request in read)


def test_a_size_is_what_a_card_of_it_gives():
    """And a binary size just so many bytes."""
    assert usable_bytes(find_gpu("16GB")[0]) == cap_bytes("16GB")
    assert 14 * GIB == cap_bytes("14GiB")


def test_too_few_rivals_is_an_error(estimator):
    """With what can be done."""
    with pytest.raises(AdvisorError, match="rivals") as caught:
        make_contest(
            find_model(MODEL)[0],
            find_gpu(CARD)[0],
            CAP,
            estimator,
            options=OPTIONS,
            rivals=500,
            seconds_a_row=2.0,
            clock=fake_clock,
        )
    assert "--alternatives" in caught.value.fix


def test_a_plan_that_is_beaten_is_said_to_be(contest, estimator):
    """Its share of the best, and its place."""
    (field,) = fields_of(rows_for(contest, 1250.0))
    verdict = next(iter(judged(field, estimator, effective_batch=16, clock=fake_clock)))

    assert Goal.FASTEST is verdict.goal
    assert contest.plan.config == verdict.plan
    assert pytest.approx(0.8) == verdict.share_of(field.best)
    assert 2 == verdict.place_in(field)


def test_a_plan_that_ran_out_of_memory_has_no_share(contest, estimator):
    """It is not passed over in silence."""
    rows = rows_for(contest, 500.0, outcome=Outcome.OOM, step_seconds=())
    (field,) = fields_of(rows)
    verdict = next(iter(judged(field, estimator, effective_batch=16, clock=fake_clock)))

    assert 0.0 == verdict.share_of(field.best)
    assert verdict.place_in(field) is None
    assert "out of memory" in markdown([(field, (verdict,))])


def test_a_plan_that_was_not_measured_is_said(contest, estimator):
    """The rows may be of an older version's plan."""
    (field,) = fields_of(list(rows_for(contest, 500.0))[1:])
    verdicts = tuple(judged(field, estimator, effective_batch=16, clock=fake_clock))

    assert verdicts[0].share_of(field.best) is None
    assert "not measured" in markdown([(field, verdicts)])
    assert "not measured" == to_json([(field, verdicts)])["contests"][0]["verdicts"][0]["why"]


def test_what_does_not_count_is_no_contest(contest):
    """Shared times, rows without a cap, and too few rows."""
    rows = list(rows_for(contest, 500.0))

    assert [] == fields_of(replace(row, shared=True) for row in rows)
    assert [] == fields_of(replace(row, cap_bytes=None) for row in rows)
    assert [] == fields_of(rows[:5])


def test_the_reports_say_the_same(contest, estimator):
    """Markdown and JSON from one verdict; the JSON reads back."""
    (field,) = fields_of(rows_for(contest, 1250.0))
    verdicts = tuple(judged(field, estimator, effective_batch=16, clock=fake_clock))
    document = json.loads(dumps(to_json([(field, verdicts)])))
    page = markdown([(field, verdicts)])

    first = document["contests"][0]["verdicts"][0]
    assert 0.8 == first["share_of_best"]
    assert "80.0%" in page
    assert "the plan (fastest)" in page
    assert 1250.0 == document["contests"][0]["best"]["tokens_per_second"]
