"""What an hour of each card costs: a file that the user keeps, for prices change by the week.

# prices.toml
currency = "USD"
[per_hour]
rtx-4090 = 0.35
"a100-80gb-sxm" = 1.40
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.catalog.gpus import find_gpu
from advisor.errors import AdvisorError

_LARGEST_FILE_BYTES = 1 << 20
_FIX = 'a TOML file such as: [per_hour] then rtx-4090 = 0.35, one card a line; currency = "USD" before it'


@dataclass(frozen=True, slots=True)
class Prices:
    """By the catalog's names."""

    currency: str
    per_hour: dict[str, float]


def read_prices(path: Path) -> Prices:
    """The prices in the file.

    Raises: AdvisorError where it can't be read, names an unknown card or holds a price that is none.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise AdvisorError(f"{path} is larger than 1 MiB.", fix=_FIX)
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AdvisorError(f"Can't read prices from {path}.", why=str(error), fix=_FIX) from error
    table = document.get("per_hour")
    if not isinstance(table, dict) or not table:
        raise AdvisorError(f"{path} has no prices.", why="there is no table [per_hour]", fix=_FIX)
    per_hour = {find_gpu(name)[0].slug: _price(name, value) for name, value in table.items()}
    return Prices(str(document.get("currency", "")), per_hour)


def _price(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise AdvisorError(f"The price of {name} is {value!r}.", why="expected a number", fix=_FIX)
    return float(value)
