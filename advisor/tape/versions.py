"""The packages whose code a tape records, and which of them are installed."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from advisor.records import Loss, TrainConfig

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl")
LIGER = "liger-kernel"


def packages_of(config: TrainConfig) -> tuple[str, ...]:
    """Those that run in the step of a config."""
    return (*PACKAGES, LIGER) if config.loss is Loss.LIGER else PACKAGES


@cache
def installed_version(name: str) -> str:
    """The version without a build's local mark (`+cpu`); `absent` where there is none."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "absent"


def installed_versions() -> dict[str, str]:
    """Of the packages that run in every step."""
    return {name: installed_version(name) for name in PACKAGES}
