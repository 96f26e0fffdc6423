"""Why a prediction is off, where it is known: `causes.toml`."""

from bench.accuracy.compared import Compared
from bench.causes import UNKNOWN, causes_of

_NOT_FACTS = ("figures", "off", "says", "evidence", "date")


def cause(row: Compared, figure: str) -> str:
    """Why the figure of the row is off, or that it is not known."""
    facts = row.facts()
    under = row.figures[figure].error < 0
    for known in causes_of("bench.accuracy"):
        if figure in known["figures"] and known["off"] in ("any", "under" if under else "over"):
            wanted = {name: values for name, values in known.items() if name not in _NOT_FACTS}
            if all(facts[name] in values for name, values in wanted.items()):
                return str(known["says"])
    return UNKNOWN
