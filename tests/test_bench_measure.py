"""The measurement itself, in a real worker, on the CPU: the same step, times, outcomes; memory needs a card."""

import pytest
from bench_parts import request

from bench.pool import WorkerPool, facts_of_this_machine


@pytest.fixture(scope="module")
def pool():
    """Real workers that see no card."""
    made = WorkerPool(standby=1)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_card(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize("how", [{"loss": "chunked"}, {"precision": "nf4", "loop": "bare"}])
def test_a_config_is_measured_in_a_fresh_process(pool, how):
    """Four steps, the first of them warm-up; on a CPU there are times and the host's memory."""
    answer = pool.measure(request(None, sequence_length=32, **how))

    assert (answer["outcome"], answer["reason"]) == ("ok", "")
    assert len(answer["step_seconds"]) == 4
    assert answer["warmup_steps"] == 1
    assert all(0 < second < 60 for second in answer["step_seconds"])
    assert answer["host_peak_bytes"] > 100 << 20
    assert answer["peak_allocated_bytes"] is None
    assert answer["environment"]["card"] is None


def test_what_can_not_be_trained_is_unsupported(pool):
    """A row with its reason, not a crash."""
    answer = pool.measure(request(None, sequence_length=32, method="full", precision="nf4"))

    assert answer["outcome"] == "unsupported"
    assert "nf4" in answer["reason"]


def test_the_facts_of_a_machine_without_a_card():
    """Its libraries are known, its card is none."""
    facts = facts_of_this_machine()

    assert facts["environment"]["card"] is None
    assert facts["environment"]["packages"]["torch"] != "missing"
    assert facts["shared"] is False
