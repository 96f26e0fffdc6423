"""A process that traces on request: `python -m advisor.simulate.worker`.

It reads one JSON object a line on stdin until that ends, and answers each with one on stdout, in order;
nothing else reaches stdout. A request holds:

    {"id": "…",                     given back with the answer
     "facts": {…},                  the content of the model's config.json
     "config": {…},                 a TrainConfig as its `to_json` gives it
     "compute_capability": [9, 0],  of the card
     "multiprocessors": 132,        of the card
     "path": "….tape",              where to write the tape
     "lines": true}                 label allocations with lines of code; may be left out

The tape is that of the regime of the config's shape (`advisor.tape.regime.regime_of`). The answer is
`{"id": "…", "ok": true}` once the tape lies there, or, where it can't be made,
`{"id": "…", "ok": false, "error": {"what": "…", "why": "…", "fix": "…", "exit_code": 2}}`.
"""

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from advisor.errors import AdvisorError
from advisor.records import config_from_json
from advisor.tape.file import save_tape
from advisor.tape.regime import regime_of
from advisor.tape.target import Target


def main() -> None:
    """Answer requests until stdin ends."""
    answers = _stdout_for_answers()
    import torch

    import advisor.simulate.trace  # noqa: F401 - now, not within the first request

    torch.set_num_threads(1)  # nothing is computed
    for line in sys.stdin:
        if line.strip():
            answers.write(json.dumps(_answer(line)) + "\n")
            answers.flush()


def _stdout_for_answers() -> IO[str]:
    """The real stdout; what anyone else writes to it, from Python or from C, goes to stderr from here on."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _answer(line: str) -> dict[str, Any]:
    identifier = None
    try:
        request = json.loads(line)
        identifier = request.get("id")
        _trace_to_file(request)
    except AdvisorError as error:
        return _failed(identifier, error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        unreadable = AdvisorError("The request can't be read.", why=f"{type(error).__name__}: {error}")
        return _failed(identifier, unreadable)
    return {"id": identifier, "ok": True}


def _failed(identifier: Any, error: AdvisorError) -> dict[str, Any]:
    told = {"what": error.what, "why": error.why, "fix": error.fix, "exit_code": int(error.exit_code)}
    return {"id": identifier, "ok": False, "error": told}


def _trace_to_file(request: dict[str, Any]) -> None:
    from advisor.simulate.trace import trace

    facts, config = dict(request["facts"]), config_from_json(request["config"])
    major, minor = request["compute_capability"]
    target = Target((int(major), int(minor)), int(request["multiprocessors"]))
    made = trace(facts, config, target, regime_of(config, facts), lines=bool(request.get("lines")))
    save_tape(made, Path(request["path"]))


if __name__ == "__main__":
    main()
