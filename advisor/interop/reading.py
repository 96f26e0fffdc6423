"""From a training config of another tool, or a plan file, to model, TrainConfig and card; nothing is passed over in silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model, model_from_config
from advisor.errors import AdvisorError
from advisor.interop.codecs import decoded
from advisor.interop.table import FORMATS, UNSET, Rule, Table, table
from advisor.interop.values import Values, flattened, same
from advisor.interop.yaml_file import read_mapping
from advisor.plan.document import load_plan
from advisor.records import GpuSpec, ModelSpec, TrainConfig, config_from_json

PLAN = "plan"
_TYPO = 0.88  # how like a key that matters an unknown one must be to be taken for a slip
_SHOWN = 60  # characters of a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One file, read."""

    format: str
    title: str  # the tool, with the version that the mapping is of
    model: ModelSpec
    config: TrainConfig
    gpu: GpuSpec | None  # where the file says one
    assumptions: tuple[str, ...]
    defaults: tuple[tuple[str, Any], ...]  # keys that decide and are not in the file, with the tool's default
    ignored: tuple[str, ...]  # keys in the file that have no bearing on memory
    unknown: tuple[
        str, ...
    ]  # keys in the file that this version of the tool does not have, or that nobody judged


def read_config(
    path: Path, *, format_name: str | None = None, model: str | None = None, gpu: GpuSpec | None = None
) -> Reading:
    """The file read as its format says; `model` replaces the file's own, `gpu` tells what `auto` means there.

    Raises: AdvisorError where the file can't be read, its format can't be told, it names no model that can be
    found, or it asks for what a TrainConfig can't express.
    """
    document = read_mapping(path)
    name = format_name or detected(document, str(path))
    if name == PLAN:
        return _of_plan(path)
    return read_document(document, table(name), str(path), model=model, gpu=gpu)


def detected(document: Mapping[str, Any], name: str) -> str:
    """The format whose keys these are.

    Raises: AdvisorError where no format knows most of the keys, or two know them as well.
    """
    if document.get("kind") == PLAN:
        return PLAN
    scores = {f: _score(document, table(f)) for f in FORMATS}
    best = max(scores, key=lambda f: scores[f])
    if scores[best][0] == 0 or list(scores.values()).count(scores[best]) > 1:
        raise AdvisorError(
            f"{name} is of no format that is known.",
            why=f"its keys do not tell whether it is of {', '.join(FORMATS)}, or a plan",
            fix="say which: --format trl",
        )
    return best


def read_document(
    document: Mapping[str, Any],
    mapping: Table,
    name: str,
    *,
    model: str | None = None,
    gpu: GpuSpec | None = None,
) -> Reading:
    """As `read_config`, of a mapping that was read; relative paths of models are from the working folder."""
    flat = flattened(document, mapping)
    _refuse_slips(flat, mapping, name)
    spec, assumed = find_model(model or _model_name(flat, mapping, name))
    values = Values(flat, mapping.defaults, _facts(spec, gpu))
    config, fired = config_of(values, mapping, name)
    judged = (*_caveats(values, mapping, name), *_notes(values, mapping, name))
    ignored = tuple(key for key in flat if _is_ignored(key, mapping))
    return Reading(
        format=mapping.format,
        title=f"{mapping.title} {mapping.version}",
        model=spec,
        config=config,
        gpu=None,
        assumptions=(*assumed, *dict.fromkeys((*(r.assume for r in fired if r.assume), *judged))),
        defaults=tuple(_defaults(values, mapping, fired)),
        ignored=ignored,
        unknown=tuple(key for key in flat if not _is_judged(key, mapping) and key not in ignored),
    )


def config_of(values: Values, mapping: Table, name: str) -> tuple[TrainConfig, tuple[Rule, ...]]:
    """The config that the rules make of the values, and the rules that fired.

    Raises: AdvisorError naming the file and the field whose value is not allowed.
    """
    row: dict[str, Any] = {}
    fired: list[Rule] = []
    for field, rules in mapping.fields.items():
        rule = next((rule for rule in rules if _fires(rule, values)), None)
        if rule is None:
            continue
        fired.append(rule)
        value = values.get(rule.key) if rule.key else rule.value
        row[field] = decoded(rule.codec, value, rule.key, values)
    try:
        return config_from_json(row), tuple(fired)
    except AdvisorError as error:
        key = next(
            (r.key for f, r in zip(row, fired, strict=True) if r.key and error.what.startswith(f"{f} ")), ""
        )
        what = f"{name}: {key}: {error.what}" if key else f"{name}: {error.what}"
        raise AdvisorError(what, why=error.why, fix=error.fix) from error


def _fires(rule: Rule, values: Values) -> bool:
    return values.holds(rule.when) and not (rule.key and values.get(rule.key) == UNSET)


def _of_plan(path: Path) -> Reading:
    planned = load_plan(path)
    gpu, assumed = find_gpu(planned.card.name)
    model, more = model_from_config(planned.model.config, planned.model.name)
    return Reading(
        format=PLAN,
        title="advisor plan",
        model=model,
        config=planned.config,
        gpu=gpu,
        assumptions=(*assumed, *more),
        defaults=(),
        ignored=(),
        unknown=(),
    )


def _score(document: Mapping[str, Any], mapping: Table) -> tuple[int, int]:
    """How many keys the tool has, counted only where it has most of them; how many of those no other has."""
    known = sum(key in mapping.accepted for key in document)
    if not any(key in document for key in (*mapping.model, *mapping.telling)) or 2 * known < len(document):
        return 0, 0
    return known, sum(key in document for key in mapping.telling)


def _model_name(flat: Mapping[str, Any], mapping: Table, name: str) -> str:
    for key in mapping.model:
        if isinstance(flat.get(key), str) and flat[key].strip():
            return str(flat[key])
    raise AdvisorError(f"{name} names no model.", why=f"{mapping.model[0]} is missing", fix="give --model 8B")


def _facts(model: ModelSpec, gpu: GpuSpec | None) -> dict[str, Any]:
    dtype = model.config.get("dtype") or model.config.get("torch_dtype")
    return {
        "card.bf16": None if gpu is None else gpu.bf16,
        "model.dtype": dtype if isinstance(dtype, str) else None,
        "model.type": model.config.get("model_type"),
    }


def _refuse_slips(flat: Mapping[str, Any], mapping: Table, name: str) -> None:
    """A key that is nearly one that matters would change the answer without a word."""
    for key in flat:
        if key in mapping.accepted or _is_judged(key, mapping) or _is_ignored(key, mapping):
            continue
        near = get_close_matches(key, sorted(mapping.decisive), n=1, cutoff=_TYPO)
        if near:
            raise AdvisorError(
                f"{name}: {mapping.title} has no key {key[:_SHOWN]!r}.",
                why=f"nearest known: {near[0]}",
                fix="correct it, or take it out",
            )


def _caveats(values: Values, mapping: Table, name: str) -> list[str]:
    told = []
    for caveat in mapping.caveats:
        value = values.get(caveat.key) if caveat.default else values.given.get(caveat.key)
        if value is None or value == UNSET or any(same(value, harmless) for harmless in caveat.harmless):
            continue
        text = f"{caveat.key}: {str(value)[:_SHOWN]}: {caveat.text}"
        if caveat.refuse:
            raise _inexpressible(name, text)
        told.append(text)
    return told


def _notes(values: Values, mapping: Table, name: str) -> list[str]:
    told = []
    for note in mapping.notes:
        if values.holds(note.when):
            if note.refuse:
                raise _inexpressible(name, note.text)
            told.append(note.text)
    return told


def _inexpressible(name: str, why: str) -> AdvisorError:
    return AdvisorError(
        f"{name} asks for what can't be answered for.", why=why, fix="take it out to ask about the rest"
    )


def _defaults(values: Values, mapping: Table, fired: tuple[Rule, ...]) -> list[tuple[str, Any]]:
    read = dict.fromkeys(key for rule in fired for key in (*rule.when, rule.key) if key)
    absent = [k for k in read if values.given.get(k) is None and k not in values.facts]
    return [(k, mapping.defaults.get(k, UNSET)) for k in absent]


def _is_ignored(key: str, mapping: Table) -> bool:
    return not _is_judged(key, mapping) and any(fnmatchcase(key, pattern) for pattern in mapping.ignored)


def _is_judged(key: str, mapping: Table) -> bool:
    return key in mapping.decisive or any(key == caveat.key for caveat in mapping.caveats)
