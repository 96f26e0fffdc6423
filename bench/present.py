"""The card that is present, and whether it may be measured."""

from advisor.catalog.gpus import gpu_by_device_name
from advisor.errors import AdvisorError, ExitCode
from advisor.records import GpuSpec


def present_card(name: str | None, memory_bytes: int | None, *, verb: str, fix: str) -> GpuSpec:
    """The catalog's card of that device name and size; `verb` and `fix` word the error where there is no card.

    Raises: AdvisorError where torch sees none, or the catalog does not know it.
    """
    if name is None:
        raise AdvisorError(
            f"There is no CUDA card to {verb}.",
            why="torch sees none",
            fix=fix,
            exit_code=ExitCode.ENVIRONMENT,
        )
    card = gpu_by_device_name(name, memory_bytes)
    if card is None:
        raise AdvisorError(
            f"The catalog has no card {name!r}.",
            why="a row needs the card's facts to be compared with anything",
            fix="add it to advisor/catalog/gpus.toml, with its sources",
        )
    return card


def others_error(card: GpuSpec, *, why: str, fix: str) -> AdvisorError:
    """That someone else uses the card."""
    return AdvisorError(
        f"Another process uses the {card.name}.", why=why, fix=fix, exit_code=ExitCode.ENVIRONMENT
    )
