"""A plan file as the file that another tool takes, with what it can't say in a comment at its top."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.interop.script import python_script, unsloth_script
from advisor.interop.table import table
from advisor.interop.writing import Missing, exported
from advisor.plan.document import PlannedRun
from advisor.records import Method, TrainConfig
from advisor.units import gib

_UNSAFE = "\r\n\x85\u2028\u2029"  # what would end a comment's line


class Target(StrEnum):
    """What a plan can be exported to."""

    TRL = "trl"
    AXOLOTL = "axolotl"
    LLAMA_FACTORY = "llama-factory"
    UNSLOTH = "unsloth"
    PYTHON = "python"


_SCRIPTS = {Target.PYTHON: python_script, Target.UNSLOTH: unsloth_script}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The file to write, and what to tell."""

    text: str
    missing: tuple[str, ...]  # one line each
    notes: tuple[str, ...]
    run: str  # the command, with {file}


def export_plan(  # noqa: PLR0913 - plan and target; the others fill gaps of the file
    planned: PlannedRun, to: Target, *, model: str | None, data: str, output: str, learning_rate: float
) -> Export:
    """The plan as a config or script of the tool.

    `model`: the weights to train; default: the hub name of the plan's model, or its name.
    Raises: AdvisorError where the tool can't train by the plan's method or base.
    """
    name = model or _weights_of(planned)
    config = planned.config
    fill = {
        "data": data,
        "data_name": Path(data).stem,
        "output": output,
        "learning_rate": learning_rate,
        "lora_alpha": 2 * config.lora_rank,  # as `step/adapt.py` has it
    }
    if to in _SCRIPTS:
        script = _SCRIPTS[to](config, name, fill)
        body, missing, notes, run = script.text, script.missing, script.notes, "python {file}"
    else:
        mapping = table(to.value)
        made = exported(config, mapping, name, {}, fill)
        body, missing, notes, run = _yaml(made.document), made.missing, made.notes, mapping.run
        notes = (f"keys are those of {mapping.title} {mapping.version}", *notes)
        if to is Target.LLAMA_FACTORY:
            notes = (
                *notes,
                f"dataset {fill['data_name']} must be described in LLaMA-Factory's dataset_info.json",
            )
    lines = tuple(_told(one) for one in missing)
    return Export(text=_head(planned, config, lines, notes, run) + body, missing=lines, notes=notes, run=run)


def _weights_of(planned: PlannedRun) -> str:
    try:
        return find_model(planned.model.name)[0].hub_name or planned.model.name
    except AdvisorError:
        return planned.model.name


def _yaml(document: dict[str, object]) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _head(
    planned: PlannedRun, config: TrainConfig, missing: tuple[str, ...], notes: tuple[str, ...], run: str
) -> str:
    kind = (
        config.precision.value
        if config.method is Method.LORA
        else f"{config.precision.value}, all that learns"
    )
    lines = [
        f"{planned.model.name} on {planned.card.name}: {config.method.value}, {kind}; written by advisor export.",
        f"Run: {run.replace('{file}', 'THIS-FILE')}",
    ]
    needed = planned.estimate.get("peak_reserved_bytes")
    if isinstance(needed, dict) and isinstance(needed.get("value"), int):
        lines.append(
            f"As planned it needs {gib(needed['value'])} of {gib(planned.card.usable_bytes)} (simulated)."
        )
    if missing:
        lines += ["Not as planned, for it can't be said here:", *(f"  {line}" for line in missing)]
    lines += [f"Note: {note}" for note in notes]
    return "".join(f"# {_one_line(line)}\n" for line in lines)


def _told(one: Missing) -> str:
    where = f" ({one.where})" if one.where else ""
    return f"{one.field}: planned {one.wanted}, here {one.instead}{where}"


def _one_line(text: str) -> str:
    return "".join(" " if letter in _UNSAFE or not letter.isprintable() else letter for letter in text)
