"""What a run says afterwards, as a document: `run.json`. No torch here."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from advisor.errors import AdvisorError
from advisor.plan.document import PlannedRun
from advisor.records import TrainConfig

SCHEMA = 1  # 1: first
_LARGEST_FILE_BYTES = 64 << 20
_ON_CPU = (
    "losses and step times are measured, on a CPU; GPU memory is not, for there is no CUDA card here: "
    "the predicted figures come from the simulated card and stay unchecked"
)
_ON_CARD = "measured on the card named under environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the training did to the losses."""

    steps: int  # that were done
    planned_steps: int
    learning_rate: float
    learning_rate_reason: str
    warmup_steps: int
    seed: int
    trainable_parameters: int
    losses: tuple[float, ...]  # one a step, those before a resume or a fallback too
    evaluation_before: float | None
    evaluation_after: float | None  # of the weights that were saved
    evaluations: tuple[tuple[int, float], ...] = ()  # step and held-out loss
    best_step: int | None = None  # whose weights were saved, where the run was to stop early
    seconds: float = 0.0  # in steps, over all processes of the run
    resumed_at_step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What was trained on."""

    format: str
    examples: int
    tokens: int
    blocks: int
    passes: float
    held_out_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One finished run; `run.json` holds it."""

    planned: PlannedRun
    config: TrainConfig  # in use at the end: the plan's, but where it fell back
    changes: tuple[dict[str, Any], ...]  # the fallbacks, as `Change.to_json`
    rehearsal: dict[str, Any] | None  # of `train/meter.py`
    random_weights: bool
    cap_bytes: int | None
    measured: dict[str, Any]  # of `train/meter.py`
    learned: Learned
    data: DataFacts
    environment: dict[str, Any]
    saved: str | None  # the folder in the output, or None
    notes: tuple[str, ...]

    @property
    def tokens_per_second(self) -> float:
        """Trained tokens a second, by the median step; the first step, which warms up, left out."""
        steps = self.measured["step_seconds"]
        usual = steps[1:] or steps
        return self.planned.config.tokens_per_step / median(usual) if usual else 0.0


def report_to_json(report: RunReport) -> dict[str, Any]:
    """One versioned document."""
    config, learned = report.planned.config, report.learned
    on_card = report.environment.get("card") is not None
    return {
        "schema": SCHEMA,
        "kind": "run",
        "basis": _ON_CARD if on_card else _ON_CPU,
        "model": {
            "name": report.planned.model.name,
            "parameters": report.planned.model.parameters,
            "weights": "random" if report.random_weights else "checkpoint",
        },
        "gpu": {
            "name": report.planned.card.name,
            "memory_bytes": report.planned.card.memory_bytes,
            "usable_bytes": report.planned.card.usable_bytes,
        },
        "cap_bytes": report.cap_bytes,
        "config": config.to_json() | {"effective_batch": config.effective_batch},
        "config_at_end": report.config.to_json() | {"effective_batch": report.config.effective_batch},
        "fallbacks": list(report.changes),
        "predicted": report.planned.estimate,
        "rehearsal": report.rehearsal,
        "measured": report.measured | {"tokens_per_second": report.tokens_per_second},
        "training": {
            "steps": learned.steps,
            "planned_steps": learned.planned_steps,
            "stopped_early": learned.steps < learned.planned_steps,
            "best_step": learned.best_step,
            "seconds": learned.seconds,
            "resumed_at_step": learned.resumed_at_step,
            "learning_rate": learned.learning_rate,
            "learning_rate_reason": learned.learning_rate_reason,
            "warmup_steps": learned.warmup_steps,
            "seed": learned.seed,
            "trainable_parameters": learned.trainable_parameters,
            "loss": list(learned.losses),
            "evaluation_loss": {"before": learned.evaluation_before, "after": learned.evaluation_after},
            "evaluations": [{"step": step, "loss": loss} for step, loss in learned.evaluations],
        },
        "data": {
            "format": report.data.format,
            "examples": report.data.examples,
            "tokens": report.data.tokens,
            "blocks": report.data.blocks,
            "passes": report.data.passes,
            "held_out_blocks": report.data.held_out_blocks,
        },
        "saved": report.saved,
        "environment": report.environment,
        "notes": list(report.notes),
    }


def load_report(path: Path) -> dict[str, Any]:
    """The document of a run.json.

    Raises: AdvisorError where the file is missing, too large, of a newer schema or not a run.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise AdvisorError(f"{path} is not a run.", why="it is larger than 64 MiB")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdvisorError(f"Can't read {path}.", why=str(error), fix="advisor run … writes one") from error
    if not isinstance(document, dict) or document.get("kind") != "run":
        raise AdvisorError(f"{path} is not a run.", why='it has no "kind": "run"')
    if document.get("schema") != SCHEMA:
        raise AdvisorError(f"{path} is of schema {document.get('schema')}; this version reads {SCHEMA}.")
    return document
