"""What a run measured on a card, as a row of the user's profiles: later plans can know it."""

import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from advisor.catalog.gpus import gpu_by_device_name
from advisor.catalog.models import all_models
from advisor.errors import AdvisorError
from advisor.profiles.environments import environment_folder
from advisor.profiles.folders import user_profiles_folder
from advisor.profiles.record import NO_BENCHMARK, Measurement, Outcome, PhasePeaks
from advisor.profiles.row import measurement_to_row
from advisor.profiles.store import append_row
from advisor.records import Loss
from advisor.train.attempt import Finished
from advisor.train.prepare import Ready

_WARMUP_STEPS = 1
_MOST_STEPS = 1000  # step times in a row: more tell nothing more
_NOT_OF_THE_ENVIRONMENT = ("allocator_settings",)  # it changes from row to row, and is in the row


def learn(
    ready: Ready, ended: Finished, facts: dict[str, Any], tell: Callable[[str], None], *, whole: bool
) -> str | None:
    """Append the row and give its id; None, with the reason told, where the run tells nothing to others.

    `whole`: one process trained one config from the first step to the last. `facts` is `environment`'s answer.
    """
    if not ready.request.learn or facts["card"] is None:
        return None
    why_not = _tells_nothing(ready, whole=whole)
    card = gpu_by_device_name(facts["card"], facts["memory_bytes"])
    if card is None:
        why_not = f"the catalog has no card {facts['card']!r}"
    if card is None or why_not:
        tell(f"not kept in the profiles: {why_not}")
        return None
    folder = user_profiles_folder()
    try:
        kept = {name: value for name, value in facts.items() if name not in _NOT_OF_THE_ENVIRONMENT}
        environment = environment_folder(folder, card.slug, kept)
        place = (card.slug, environment, ready.planned.model.name)
        made = append_row(folder, place, measurement_to_row(_row(ready, ended, facts, place)))
    except AdvisorError as error:  # the run is over and its weights are saved: this is no reason to fail
        tell(f"WARNING: not kept in the profiles: {error.what} {error.why}")
        return None
    tell(f"kept in the profiles as row {made}; --no-learn keeps none")
    return made


def _tells_nothing(ready: Ready, *, whole: bool) -> str:
    """Why the run's figures are not those of its config alone; empty where they are."""
    config, model = ready.planned.config, ready.planned.model
    known = next((spec for spec in all_models() if spec.name == model.name), None)
    if known is None or known.parameters != model.parameters:
        return f"the catalog has no model {model.name!r}"
    if not whole:
        return "the run was resumed, or fell back, so its figures are of several configurations"
    if ready.request.evaluate_steps:
        return "evaluations on the way left their memory among the training's"
    if config.loss is Loss.CHUNKED and ready.data.uncounted_tokens:
        return (
            "the chunked loss took no memory for the tokens that do not count, so others' data may take more"
        )
    return ""


def _row(ready: Ready, ended: Finished, facts: dict[str, Any], place: tuple[str, str, str]) -> Measurement:
    figures = ended.training_figures
    peaks = {name: PhasePeaks(**values) for name, values in figures["phases"].items()}
    if ready.shared:  # NVML's figures are the others' too
        peaks = {name: replace(peak, peak_device_bytes=None) for name, peak in peaks.items()}
    return Measurement(
        id="",
        card=place[0],
        environment=place[1],
        model=place[2],
        # The figures are those of training alone.
        config=replace(ready.planned.config, evaluates=False, evaluation_batch=None),
        outcome=Outcome.OK,
        reason="",
        benchmark_version=NO_BENCHMARK,
        measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        provenance="collected",
        cap_bytes=ready.request.cap_bytes,
        shared=ready.shared,
        static_bytes=figures["static_bytes"] or None,
        peak_allocated_bytes=figures["peak_allocated_bytes"],
        peak_reserved_bytes=figures["peak_reserved_bytes"],
        peak_device_bytes=None if ready.shared else figures["peak_device_bytes"],
        alloc_retries=figures["alloc_retries"],
        allocator_settings=facts["allocator_settings"],
        phases=peaks,
        warmup_steps=min(_WARMUP_STEPS, len(figures["step_seconds"])),
        step_seconds=tuple(figures["step_seconds"][:_MOST_STEPS]),
        clocks=None,
        power=None,
        host_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        smallest_cap=None,
        host_pace_seconds=None,
        kernels=None,
    )
