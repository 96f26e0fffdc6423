"""What a card gives, and the risk at which a config has to fit it."""

from advisor.catalog.gpus import usable_bytes
from advisor.errors import AdvisorError
from advisor.records import GpuSpec

DEFAULT_RISK = 0.01
_LEAST_RISK, _MOST_RISK = 0.0001, 0.4


def room_bytes(gpu: GpuSpec, reserve_bytes: int) -> int:
    """What the card surely gives to the allocator, less what is kept for others.

    Raises: AdvisorError where nothing is left.
    """
    left = usable_bytes(gpu) - reserve_bytes
    if left <= 0:
        raise AdvisorError(f"The reserve takes all of the {gpu.name}.", fix="keep less with --reserve")
    return left


def checked_risk(risk: float) -> float:
    """The risk, where it is one.

    Raises: AdvisorError where it is outside what the ranges can tell.
    """
    if not _LEAST_RISK <= risk <= _MOST_RISK:
        raise AdvisorError(
            f"--risk {risk:g} is not a risk.",
            why="it is the chance that the run needs more memory than the card gives",
            fix=f"a number from {_LEAST_RISK:g} to {_MOST_RISK:g}, such as 0.01",
        )
    return risk
