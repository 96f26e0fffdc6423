"""Everything that the report is about: the rows that ship, and those that others published."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from advisor.estimate import Estimator
from advisor.profiles.folders import profiles_folder
from advisor.profiles.store import read_rows
from advisor.residuals.table import MEMORY, Table
from bench.accuracy.compared import Accuracy, joined
from bench.accuracy.others import compare_published
from bench.accuracy.ranges import with_ranges
from bench.accuracy.score import compare_rows
from bench.residuals import rows_of

Item = TypeVar("Item")


def published_folder() -> Path:
    """Where the rows of others lie."""
    return profiles_folder() / "published"


def accuracy_of_all(estimator: Estimator) -> Accuracy:
    """Own rows that ship, and published ones, with ranges from one another.

    Raises: AdvisorError where rows can't be read.
    """
    own = compare_rows(read_rows(profiles_folder()), estimator)
    found = joined(own, compare_published(published_folder(), estimator))
    return with_ranges(found, Table(MEMORY, rows_of(found.compared)))


def sample(items: Iterable[Item], identify: Callable[[Item], str], count: int) -> Sequence[Item]:
    """So many of the items, the same ones each time, whatever their order."""

    def luck(item: Item) -> str:
        return hashlib.sha256(identify(item).encode()).hexdigest()

    return sorted(items, key=luck)[:count]
