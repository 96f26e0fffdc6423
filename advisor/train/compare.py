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

_REHEARSED = _OVERALL[1:3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure, as planned and as measured; None where either is unknown."""

    label: str
    predicted: float | None
    measured: float | None
    unit: str  # bytes, seconds or tokens/s
    low: float | None = None  # the plan's range, which holds 90 % of real outcomes
    high: float | None = None

    @property
    def in_range(self) -> bool | None:
        """Whether the measured figure is in the plan's range; None where either is unknown."""
        if self.low is None or self.high is None or self.measured is None:
            return None
        return self.low <= self.measured <= self.high

    @property
    def error(self) -> float | None:
        """Predicted over measured, less one."""
        if not self.predicted or not self.measured:
            return None
        return self.predicted / self.measured - 1


def comparisons(document: dict[str, Any]) -> tuple[Comparison, ...]:
    """Every figure that a plan predicts and a run can measure.

    After a fallback nothing is predicted: the plan's figures are of the config that ran out of memory.
    """
    predicted = {} if document.get("fallbacks") else document["predicted"]
    measured, rehearsed = document["measured"], document.get("rehearsal") or {}
    on_card = document["environment"].get("card") is not None
    rows = [_compared(label, predicted.get(key), measured.get(key), "bytes") for key, label in _OVERALL]
    rows += [
        _compared(f"{label}, rehearsed", predicted.get(key), rehearsed.get(key), "bytes")
        for key, label in _REHEARSED
        if rehearsed.get(key) is not None
    ]
    rows += phase_peaks(predicted, measured)
    usual = measured["step_seconds"][1:] or measured["step_seconds"]
    step, speed = predicted.get("step_seconds"), predicted.get("tokens_per_second")
    rows += [
        _compared("a step", step, median(usual) if usual and on_card else None, "seconds"),
        _compared("speed", speed, measured["tokens_per_second"] if on_card else None, "tokens/s"),
        _total_seconds(document, step if on_card else None),
    ]
    return tuple(row for row in rows if row.predicted is not None or row.measured is not None)


def _compared(label: str, said: Any, measured: float | None, unit: str) -> Comparison:
    whole = said if isinstance(said, dict) else {}
    low, high = _number(whole.get("low")), _number(whole.get("high"))
    return Comparison(label=label, predicted=_middle(said), measured=measured, unit=unit, low=low, high=high)


def _total_seconds(document: dict[str, Any], step: Any) -> Comparison:
    """All steps, without loading, evaluating and saving."""
    training = document["training"]
    a_step, steps = _middle(step), training["steps"]
    predicted = None if a_step is None else a_step * steps
    return Comparison(
        label="all steps", predicted=predicted, measured=training.get("seconds"), unit="seconds"
    )


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
    for change in document.get("fallbacks") or ():
        yield f"Fell back: {change['text']}."
    if document.get("fallbacks"):
        yield "The plan's figures are of the configuration that ran out, so nothing is compared with them."
    if losses:
        yield f"Training loss: {losses[0]:.3f} at first, {losses[-1]:.3f} at step {training['steps']}."
    if evaluation["before"] is not None and evaluation["after"] is not None:
        yield f"Held-out loss: {evaluation['before']:.3f} before, {evaluation['after']:.3f} after."
    if training.get("stopped_early"):
        yield f"Stopped after step {training['steps']} of {training['planned_steps']}: the held-out loss fell no more."
    if training.get("best_step"):
        yield f"The saved weights are those of step {training['best_step']}, the best evaluation."
    yield f"Trained at {measured['tokens_per_second']:,.0f} tokens/s, {seconds(training.get('seconds') or sum(measured['step_seconds']))} in steps."
    if document["saved"]:
        yield f"Saved: {document['saved']}/ in the output folder."


def phase_peaks(predicted: dict[str, Any], measured: dict[str, Any]) -> Iterator[Comparison]:
    """The allocated peak of each phase, as planned and as measured; what a plan says amiss is unknown."""
    said = predicted.get("phases")
    rows = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
    planned = {str(row.get("phase")): _number(row.get("peak_allocated_bytes")) for row in rows}
    found = {name: peaks["peak_allocated_bytes"] for name, peaks in measured["phases"].items()}
    for name in (phase.value for phase in Phase if phase in planned.keys() | found.keys()):
        yield Comparison(
            label=f"  in {name}", predicted=planned.get(name), measured=found.get(name), unit="bytes"
        )


def _middle(figure: Any) -> float | None:
    return _number(figure.get("value") if isinstance(figure, dict) else figure)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def shown(value: float | None, unit: str) -> str:
    """A figure of a comparison as people read it."""
    if value is None:
        return "-"
    if unit == "bytes":
        return mib(value) if value < _SMALL_BYTES else gib(value)
    return seconds(value) if unit == "seconds" else f"{value:,.0f} {unit}"
