"""Record the allocator's own history of one config, to compare a replay with event by event.

    python -m bench.history '{"model": "8B", "precision": "nf4"}' history.json.gz

Takes a row as `advisor estimate` does. Prints the worker's answer; recording slows the run, so its times don't count.
"""

import json
import sys
from pathlib import Path

from advisor.catalog.models import find_model
from advisor.records import config_from_json
from bench.request import Request


def main() -> None:
    """One config, measured in this process."""
    from advisor.train.card import choose_device
    from bench.measure import measure

    row, target = json.loads(sys.argv[1]), Path(sys.argv[2])
    request = Request(model=find_model(row["model"])[0], config=config_from_json(row))
    answer = measure(request.to_json(), choose_device(), target)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
