"""The process in which one measurement runs: imports first, then one request, one answer, the end.

    python -m bench.worker           # says it is ready, reads one request from stdin, answers, ends
    python -m bench.worker --facts   # says what this machine is, ends

Lines of JSON on the real stdout are the protocol; whatever a library prints goes to stderr. Nothing takes memory of the
card before the request comes; a worker whose imports do says so, and is not kept waiting.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


def _protocol() -> TextIO:
    """The real stdout for us alone; everyone else's goes to stderr."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from advisor.train.card import choose_device
    from bench.measure import measure

    return measure(request, choose_device())


def _facts() -> dict[str, Any]:
    from advisor.train.card import choose_device
    from advisor.train.environment import environment
    from advisor.train.sensors import CardSensors

    sensors = CardSensors.open(None)
    shared = sensors is not None and sensors.used_by_others(os.getpid())
    return {"environment": environment(choose_device()), "shared": shared}


def _import_ahead() -> bool:
    """Import all that a measurement needs; gives whether that alone took memory of the card."""
    import bitsandbytes  # noqa: F401
    import torch
    import trl.trainer.sft_trainer  # noqa: F401

    import bench.measure  # noqa: F401

    return torch.cuda.is_initialized() and bool(
        torch._C._cuda_hasPrimaryContext(0)  # type: ignore[attr-defined]  # noqa: SLF001 - no public name
    )


def main() -> None:
    """One measurement, or the facts."""
    if "--facts" in sys.argv:
        print(json.dumps(_facts()), file=_protocol(), flush=True)
        return
    serve(_answer)


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Import, say so, answer one request, end."""
    out = _protocol()
    print(json.dumps({"holds_context": _import_ahead()}), file=out, flush=True)
    line = sys.stdin.readline()
    if line.strip():
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)
    # The row is out: tearing down torch and the card takes seconds, and nothing is left to save.
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
