"""Why a difference is there, where it is known: `causes.toml`."""

from bench.causes import UNKNOWN, causes_of
from bench.events.compare import Difference


def cause(difference: Difference, precision: str) -> str:
    """Why things differ so in a run of that precision, or that it is not known."""
    facts = {
        "where": difference.where,
        "ops": difference.op,
        "phases": difference.phase,
        "precisions": precision,
    }
    for known in causes_of("bench.events"):
        if all(value in known.get(name, [value]) for name, value in facts.items()):
            return str(known["says"])
    return UNKNOWN
