"""The reasons of a plan: what was asked for says so, what was chosen says why, and what it needs is told."""

from pathlib import Path

from plan_parts import search_for

from advisor.catalog.liger import liger_measured
from advisor.estimate import Estimator
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions
from advisor.plan.reasons import assumptions, choices
from advisor.plan.search import Examined
from advisor.records import Interval, Loss, Method, Precision
from advisor.tape.store import TapeStore

SECONDS = Interval(value=2.0, low=1.0, high=3.0)


def said(gpu="h100-80gb-sxm", precision=Precision.BF16, **options):
    """The choices by name, and the assumptions, of the first way to train with a base in that precision."""
    search, ways = search_for(
        Estimator(TapeStore(cache_folder=Path("nowhere"), may_trace=False)), gpu, "8B", PlanOptions(**options)
    )
    lane = next(way for way in ways if way.config.precision is precision)
    found = Examined(lane=lane, config=lane.config, step_seconds=SECONDS)
    return {c.name: c for c in choices(search.ask, found, ())}, tuple(assumptions(search.ask, found))


def test_ligers_kernels_say_what_they_save_and_what_they_need():
    """Where speed is the goal, and the card and the model allow them, they are chosen, not asked for."""
    chosen, told = said(goal=Goal.FASTEST)
    asked, _ = said(loss=Loss.LIGER)

    assert ("liger", "fused") == (chosen["loss"].value, chosen["loss"].reason.code)
    assert "asked" == asked["loss"].reason.code
    assert "whole logits would take 2.45 GiB" in chosen["loss"].reason.text
    assert liger_measured() in chosen["loss"].reason.text
    assert any("C compiler" in line and "`advisor run` takes the chunked loss" in line for line in told)
    assert "liger-kernel" in told[-1]


def test_without_ligers_kernels_nothing_is_said_of_them():
    """For another goal, before Ampere, and where another loss is asked for."""
    fast = {"goal": Goal.FASTEST}
    for chosen, told in (said(), said("t4", Precision.FP16, **fast), said(loss=Loss.CHUNKED, **fast)):
        assert "chunked" == chosen["loss"].value == chosen["loss"].reason.code
        assert not any("Liger" in line or "liger" in line for line in told)


def test_adapters_that_read_their_layers_dtype_say_why():
    """Where PEFT would cast for nothing; adapters of a quantised base are not cast, and a whole model has none."""
    reasons = {p: said(precision=p)[0].get("adapter inputs") for p in (Precision.BF16, Precision.NF4)}

    assert "uncast" == reasons[Precision.BF16].reason.code
    assert reasons[Precision.NF4] is None
    assert "adapter inputs" not in said(method=Method.FULL)[0]
