"""The figures of a run.json beside those of its plan, for people. No torch here."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from advisor.step.observe import Phase
from advisor.units import gib, mib, seconds

_SMALL_BYTES = 100 << 20  # below this a size reads better in MiB
_OVERALL = (
    ("static_bytes", "loaded and adapted"),
    ("peak_allocated_bytes", "peak allocated"),
    ("peak_reserved_bytes", "peak reserved"),
    ("peak_device_bytes", "peak of the card (NVML)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure, as planned and as measured; None where either is unknown."""

    label: str
    predicted: float | None
    measured: float | None
    unit: str  # bytes, seconds or tokens/s

    @property
    def error(self) -> float | None:
        """Predicted over measured, less one."""
        if not self.predicted or not self.measured:
            return None
        return self.predicted / self.measured - 1


def comparisons(document: dict[str, Any]) -> tuple[Comparison, ...]:
    """Every figure that a plan predicts and a run can measure."""
    predicted, measured = document["predicted"], document["measured"]
    on_card = document["environment"].get("card") is not None
    rows = [
        Comparison(
            label=label, predicted=_middle(predicted.get(key)), measured=measured.get(key), unit="bytes"
        )
        for key, label in _OVERALL
    ]
    rows += _phases(predicted, measured)
    usual = measured["step_seconds"][1:] or measured["step_seconds"]
    rows += [
        Comparison(
            label="a step",
            predicted=_middle(predicted.get("step_seconds")),
            measured=median(usual) if usual and on_card else None,
            unit="seconds",
        ),
        Comparison(
            label="speed",
            predicted=_middle(predicted.get("tokens_per_second")),
            measured=measured["tokens_per_second"] if on_card else None,
            unit="tokens/s",
        ),
    ]
    return tuple(row for row in rows if row.predicted is not None or row.measured is not None)


def show_run(document: dict[str, Any], console: Console) -> None:
    """The predicted figures beside the measured ones, the losses, and what the reader should know."""
    table = Table(title=f"Predicted for {document['gpu']['name']} beside measured", title_justify="left")
    for heading in ("", "predicted", "measured", "off by"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in comparisons(document):
        off = "" if row.error is None else f"{row.error:+.1%}"
        table.add_row(row.label, shown(row.predicted, row.unit), shown(row.measured, row.unit), off)
    console.print(table)
    for line in summary_lines(document):
        console.print(line, markup=False, highlight=False)


def summary_lines(document: dict[str, Any]) -> Iterator[str]:
    """The rest of the story, in sentences."""
    training, measured = document["training"], document["measured"]
    evaluation, losses = training["evaluation_loss"], training["loss"]
    yield f"Basis: {document['basis']}."
    if losses:
        yield f"Training loss: {losses[0]:.3f} at first, {losses[-1]:.3f} at step {training['steps']}."
    if evaluation["before"] is not None and evaluation["after"] is not None:
        yield f"Held-out loss: {evaluation['before']:.3f} before, {evaluation['after']:.3f} after."
    yield f"Trained at {measured['tokens_per_second']:,.0f} tokens/s, {seconds(sum(measured['step_seconds']))} in steps."
    if document["saved"]:
        yield f"Saved: {document['saved']}/ in the output folder."


def _phases(predicted: dict[str, Any], measured: dict[str, Any]) -> Iterator[Comparison]:
    planned = {row["phase"]: row["peak_allocated_bytes"] for row in predicted.get("phases") or ()}
    found = {name: peaks["peak_allocated_bytes"] for name, peaks in measured["phases"].items()}
    for name in (phase.value for phase in Phase if phase in planned.keys() | found.keys()):
        yield Comparison(
            label=f"  in {name}", predicted=planned.get(name), measured=found.get(name), unit="bytes"
        )


def _middle(figure: Any) -> float | None:
    value = figure.get("value") if isinstance(figure, dict) else figure
    return value if isinstance(value, int | float) else None


def shown(value: float | None, unit: str) -> str:
    """A figure of a comparison as people read it."""
    if value is None:
        return "-"
    if unit == "bytes":
        return mib(value) if value < _SMALL_BYTES else gib(value)
    return seconds(value) if unit == "seconds" else f"{value:,.0f} {unit}"
