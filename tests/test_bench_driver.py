"""Workers, and the driver that keeps them busy: what dies, what is kept, what a budget buys."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_parts import request, stand_in

from advisor.profiles.record import SmallestCap
from bench.caps import find_smallest_cap
from bench.driver import Limits, Run
from bench.expected import Expected
from bench.pool import WorkerPool, facts_of_this_machine

GIB = 1 << 30


@pytest.fixture
def pool():
    """Workers that answer by a rule; some die or hang when told."""
    made = WorkerPool(stand_in("--dies"), standby=1)
    yield made
    made.close()


def expect(*requests, seconds=1.0):
    """Requests as the driver takes them."""
    return [Expected(request=each, seconds=seconds, fits=True, reason="") for each in requests]


def run(pool, todo, **limits):
    """Run them; gives what was kept, in order."""
    kept = []
    Run(todo, pool, Limits(**limits), lambda asked, answer: kept.append((asked, answer))).run()
    return kept


def test_each_request_has_a_process_of_its_own(pool):
    """Its number is another every time."""
    pids = set()
    take = pool._take

    def watched():
        worker = take()
        pids.add(worker.process.pid)
        return worker

    pool._take = watched
    kept = run(pool, expect(*(request(micro_batch=size) for size in (1, 3, 4))))

    assert ["ok", "ok", "ok"] == [answer["outcome"] for _, answer in kept]
    assert len(pids) == 3


def test_a_worker_that_is_killed_takes_only_its_row(pool):
    """The row says how it died and what it last said; the others are measured."""
    kept = run(pool, expect(*(request(micro_batch=size) for size in (1, 2, 3))))

    assert ["ok", "failed", "ok"] == [answer["outcome"] for _, answer in kept]
    assert "killed by signal 9" in kept[1][1]["reason"]
    assert "about to die" in kept[1][1]["reason"]


def test_a_worker_that_can_not_start_says_why():
    """Its last words, not a traceback of ours."""
    pool = WorkerPool((sys.executable, "-c", "raise SystemExit('no such library')"), standby=0)
    answer = pool.measure(request())
    pool.close()

    assert answer["outcome"] == "failed"
    assert "no such library" in answer["reason"]


def test_a_worker_says_what_machine_this_is():
    """Asked of a process of its own, for the parent keeps away from torch."""
    facts = facts_of_this_machine(stand_in())

    assert facts["environment"]["card"] == "NVIDIA H200"


def test_a_budget_ends_before_it_is_overrun(pool):
    """What would not end in time is not begun; what is shorter still is."""
    todo = [*expect(request(micro_batch=1), seconds=100), *expect(request(micro_batch=3), seconds=0.01)]
    kept = run(pool, todo, budget_seconds=50)

    assert [3] == [asked.config.micro_batch for asked, _ in kept]


def test_several_at_a_time_share_the_memory(pool):
    """Those that are known to fit beside each other run together, one of unknown size alone."""
    at_once, most = set(), []
    measure = pool.measure

    def watched(asked):
        at_once.add(asked.key)
        most.append(frozenset(at_once))
        answer = measure(asked)
        at_once.discard(asked.key)
        return answer

    pool.measure = watched
    sized = [request(micro_batch=size) for size in (1, 3, 4, 5)]
    todo = expect(*(replaced(each, 4 * GIB) for each in sized), request(micro_batch=6))
    run(pool, todo, parallel=4, memory_bytes=11 * GIB)

    assert max(len(names) for names in most) == 2
    assert all(len(names) == 1 for names in most if request(micro_batch=6).key in names)


def replaced(asked, predicted_bytes):
    """The request with a prediction."""
    from dataclasses import replace

    return replace(asked, predicted_bytes=predicted_bytes)


def test_the_smallest_cap_is_found_from_above(pool):
    """The stand-in runs from 1.04 of its allocated peak on, without retries from 1.06."""
    (asked, answer), *_ = [
        (a, b) for a, b in run(pool, expect(request(micro_batch=4)), find_cap=True) if a.cap_bytes is None
    ]
    cap, allocated = answer["smallest_cap"], 4 * GIB

    assert isinstance(cap, SmallestCap)
    assert 0 <= cap.with_retries_bytes - 1.04 * allocated <= cap.resolution_bytes
    assert 0 <= cap.without_retries_bytes - 1.06 * allocated <= cap.resolution_bytes
    assert asked.config.micro_batch == 4


def test_every_trial_under_a_cap_is_kept(pool):
    """Each is a measurement: it ran out or it did not."""
    kept = run(pool, expect(request(micro_batch=4)), find_cap=True)
    capped = [answer["outcome"] for asked, answer in kept if asked.cap_bytes is not None]

    assert {"ok", "oom"} == set(capped)


@pytest.mark.parametrize("guess", [None, 1.0, 1.035, 1.045, 1.08, 5.0])
def test_a_guess_saves_trials_and_changes_nothing(guess):
    """Where it is right, two trials bound the cap; where it is wrong, the answer is the same."""
    allocated, trials = 10 * GIB, []

    def measure(asked):
        trials.append(asked.cap_bytes)
        enough = asked.cap_bytes >= 1.04 * allocated
        return {"outcome": "ok" if enough else "oom", "alloc_retries": 0}

    free = {"peak_allocated_bytes": allocated, "peak_reserved_bytes": 12 * GIB}
    found = find_smallest_cap(request(), free, measure, guess_bytes=guess and int(guess * allocated))

    assert 0 <= found.with_retries_bytes - 1.04 * allocated <= found.resolution_bytes
    assert found.without_retries_bytes == found.with_retries_bytes
    assert len(trials) <= 7


def test_a_trial_that_fails_otherwise_gives_no_cap():
    """A crash says nothing of memory."""
    free = {"peak_allocated_bytes": 10 * GIB, "peak_reserved_bytes": 12 * GIB}

    assert find_smallest_cap(request(), free, lambda _: {"outcome": "failed"}) is None


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from bench_parts import request, stand_in
from bench.driver import Limits, Run
from bench.expected import Expected
from bench.pool import WorkerPool

todo = [Expected(request=request(micro_batch=n), seconds=1.0, fits=True, reason="") for n in (1, 2, 3)]
keep = lambda asked, answer: print("kept", asked.config.micro_batch, flush=True)
try:
    Run(todo, WorkerPool(stand_in("--hangs"), standby=1), Limits(), keep).run()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_keeps_what_has_finished_and_leaves_no_worker():
    """The second worker hangs; the first row is kept, and nobody stays behind."""
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "kept 1\n"
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=20)

    assert rest == "interrupted\n"
    assert not workers_of(process.pid)


def workers_of(parent):
    """Stand-in workers that the process left behind: they would belong to init now."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [args for _, ppid, args in lines if "--hangs" in args and ppid in {"1", str(parent)}]
