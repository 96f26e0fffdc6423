"""A finished run, looked at again from its files: do the figures hold, are the weights whole? No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError
from advisor.train.checkpoints import torn
from advisor.train.compare import Comparison, comparisons
from advisor.train.output import RUN_FILE
from advisor.train.report import load_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a run's files say."""

    document: dict[str, Any]  # run.json
    figures: tuple[Comparison, ...]
    weights: str | None  # the folder; None where none were saved
    torn: str | None  # why the weights are not what the run wrote; None where they are

    @property
    def outside(self) -> tuple[Comparison, ...]:
        """The figures that were measured outside of the plan's range."""
        return tuple(row for row in self.figures if row.in_range is False)

    @property
    def holds(self) -> bool:
        """Whether all is as it should be; what could not be measured says nothing."""
        return not self.outside and self.torn is None


def verify(folder: Path) -> Verification:
    """Read a run's folder again.

    Raises: AdvisorError where it holds no run that ended.
    """
    if not (folder / RUN_FILE).is_file():
        raise AdvisorError(
            f"{folder} holds no run that ended.",
            why=f"there is no {RUN_FILE}",
            fix="give the folder that `advisor run --output` named; the same command again goes on with a run",
        )
    document = load_report(folder / RUN_FILE)
    try:
        figures = comparisons(document)
        saved = document["saved"]
    except (KeyError, TypeError, AttributeError) as error:
        raise AdvisorError(
            f"{folder / RUN_FILE} can't be read.", why=f"{type(error).__name__}: {error}"
        ) from error
    # A plain name: the file is hostile until it has been read.
    if saved is not None and (not isinstance(saved, str) or Path(saved).name != saved):
        raise AdvisorError(f"{folder / RUN_FILE} names no folder of weights.", why=f"saved = {saved!r}")
    return Verification(
        document=document,
        figures=figures,
        weights=saved,
        torn=None if saved is None else torn(folder / saved),
    )


def verification_to_json(made: Verification) -> dict[str, Any]:
    """One versioned document."""
    return {
        "schema": 1,
        "kind": "verification",
        "holds": made.holds,
        "figures": [
            {
                "label": row.label.strip(),
                "unit": row.unit,
                "predicted": row.predicted,
                "low": row.low,
                "high": row.high,
                "measured": row.measured,
                "error": row.error,
                "in_range": row.in_range,
            }
            for row in made.figures
        ],
        "weights": made.weights,
        "torn": made.torn,
        "fallbacks": made.document.get("fallbacks") or [],
        "basis": made.document["basis"],
    }
