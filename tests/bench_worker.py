"""A worker as the bench starts it, without torch and a card: it answers by a rule, or dies as it is told.

Arguments: how to behave. `--facts` tells what machine this is.
"""

import json
import os
import signal
import sys
import time

GIB = 1 << 30
FACTS = {
    "environment": {
        "card": "NVIDIA H200",
        "driver": "580.1",
        "cuda": "13.0",
        "packages": {"torch": "2.13.0"},
        "allocator_settings": None,
    },
    "shared": "--shared" in sys.argv,
}


def answer(request: dict) -> dict:
    """Allocated grows with the batch; reserved is a tenth more; a cap below 1.04 runs out, below 1.06 retries."""
    config = request["config"]
    allocated = config["micro_batch"] * GIB
    cap = request["cap_bytes"]
    row = {
        "outcome": "ok",
        "reason": "",
        "benchmark_version": 2,
        "warmup_steps": 1,
        "static_bytes": GIB // 2,
        "peak_allocated_bytes": allocated,
        "peak_reserved_bytes": allocated * 11 // 10,
        "peak_device_bytes": allocated * 12 // 10,
        "alloc_retries": int(cap is not None and cap < 1.06 * allocated),
        "phases": {
            "forward": {
                "peak_allocated_bytes": allocated,
                "peak_reserved_bytes": allocated * 11 // 10,
                "peak_device_bytes": allocated * 12 // 10,
            }
        },
        "step_seconds": [1.0, 0.5, 0.5, 0.5],
        "clocks": {"sm_mhz_min": 1900, "sm_mhz_max": 1980, "throttle_reasons": []},
        "power": {"watts_mean": 500.0, "watts_max": 600.0, "energy_joules": 750.0},
        "shared": False,
        "host_peak_bytes": GIB,
        "environment": FACTS["environment"],
    }
    if cap is not None and cap < 1.04 * allocated:
        row |= {"outcome": "oom", "reason": "CUDA out of memory.", "step_seconds": [], "phases": {}}
    return row


def main() -> None:
    if "--facts" in sys.argv:
        print(json.dumps(FACTS))
        return
    print(json.dumps({"holds_context": "--holds" in sys.argv}), flush=True)
    line = sys.stdin.readline()
    if not line:
        return
    request = json.loads(line)
    if "--dies" in sys.argv and request["config"]["micro_batch"] == 2:
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if "--hangs" in sys.argv and request["config"]["micro_batch"] == 2:
        time.sleep(600)
    print(json.dumps(answer(request)), flush=True)


if __name__ == "__main__":
    main()
