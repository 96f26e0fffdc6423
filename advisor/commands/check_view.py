"""The answers of `advisor check` for people, for scripts, for CI."""

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from advisor.check import Answer, Remedy, Verdict
from advisor.errors import AdvisorError
from advisor.interop.reading import Reading
from advisor.interop.settings import settings_between
from advisor.junit import Case, Result
from advisor.phases import peak_words
from advisor.step_summary import table
from advisor.units import gib

_STYLES = {Verdict.FITS: "bold green", Verdict.TIGHT: "bold yellow", Verdict.NO: "bold red"}
_WORDS = {
    Verdict.FITS: "fits",
    Verdict.TIGHT: "may not fit",
    Verdict.NO: "does not fit",
}
_HOW_TIGHT = "the upper end of the interval is too much, or the cache must be emptied on the way"
_SCHEMA = 1  # 1: first


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file, or the options, on one card: an answer, or why there is none."""

    name: str
    reading: Reading | None
    answer: Answer | None
    error: AdvisorError | None
    duration_seconds: float


def answer_view(one: Checked, *, again: bool = False) -> RenderableType:
    """Verdict, change and assumptions; `again` leaves out what was shown of the file before."""
    reading, answer = one.reading, one.answer
    if reading is None or answer is None:
        return Text("")
    read_as = f" ({reading.title})" if reading.title else ""
    parts: list[RenderableType] = (
        [] if again else [Text(f"{one.name}{read_as}: {reading.model.name}", "bold")]
    )
    parts.append(Text.assemble("  ", (_WORDS[answer.verdict], _STYLES[answer.verdict]), "  ", _line(answer)))
    parts.append(Padding(Text(_basis(answer), "dim"), (0, 0, 0, 4)))
    if answer.verdict is not Verdict.FITS:
        parts += [Padding(Text(line), (0, 0, 0, 4)) for line in _advice(answer, reading)]
    dim = [f"note: {note}" for note in answer.notes] + ([] if again else _passed_over(reading))
    parts += [Padding(Text(line, "dim"), (0, 0, 0, 4)) for line in dim]
    return Group(*parts)


def document(checked: list[Checked]) -> dict[str, Any]:
    """One versioned document."""
    fits = all(one.answer is not None and one.answer.verdict is Verdict.FITS for one in checked)
    return {"schema": _SCHEMA, "kind": "check", "fits": fits, "checks": [_plain(one) for one in checked]}


def case_of(one: Checked) -> Case:
    """The answer as CI systems show it."""
    group = f"advisor.check.{one.name}"
    if one.answer is None or one.reading is None:
        error = one.error
        what, text = (error.what, str(error)) if error is not None else ("", "")
        return Case(
            group=group,
            name="is read",
            result=Result.ERROR,
            message=what,
            text=text,
            duration_seconds=one.duration_seconds,
        )
    fits = one.answer.verdict is Verdict.FITS
    line = _line(one.answer)
    story = [
        line,
        _basis(one.answer),
        *([] if fits else _advice(one.answer, one.reading)),
        *one.answer.notes,
        *_passed_over(one.reading),
    ]
    return Case(
        group=group,
        name=f"fits {one.answer.gpu.name}",
        result=Result.PASSED if fits else Result.FAILED,
        message=f"{_WORDS[one.answer.verdict]}  {line}",
        text="\n".join(story),
        duration_seconds=one.duration_seconds,
    )


def markdown(checked: list[Checked]) -> str:
    """For the page of a CI job."""
    rows = [_row(one) for one in checked]
    return "### advisor check\n\n" + table(("config", "card", "needs", "room", "", "smallest change"), rows)


def _row(one: Checked) -> tuple[str, ...]:
    answer = one.answer
    if answer is None or one.reading is None:
        return one.name, "", "", "", f"no answer: {one.error.what if one.error else ''}", ""
    change = _changes(answer, one.reading)[0] if answer.verdict is not Verdict.FITS else ""
    needed = gib(answer.needed_bytes.value)
    return one.name, answer.gpu.name, needed, gib(answer.room_bytes), answer.verdict.value, change


def _line(answer: Answer) -> str:
    needed = answer.needed_bytes
    span = f"90 %: {gib(needed.low)} to {gib(needed.high)}"
    where = peak_words(answer.estimate.peak_phase, answer.estimate.peak_step)
    return f"{answer.gpu.name}: needs {gib(needed.value)} of {gib(answer.room_bytes)} ({span}); the peak is in {where}"


def _basis(answer: Answer) -> str:
    return f"basis: {answer.estimate.evidence.text}"


def _advice(answer: Answer, reading: Reading) -> list[str]:
    if answer.verdict is Verdict.TIGHT:
        return [_HOW_TIGHT, *_changes(answer, reading)]
    return _changes(answer, reading)


def _changes(answer: Answer, reading: Reading) -> list[str]:
    remedy = answer.remedy
    if remedy is None:
        return ["no change alone and no two that were tried make it fit; advisor plan finds what does"]
    which = "the smallest change" if len(remedy.changes) == 1 else "no change alone; the smallest two"
    costs = "; ".join(dict.fromkeys(remedy.costs))
    told = (
        f"{which}: {' and '.join(remedy.changes)}; then it needs {gib(remedy.needed_bytes.value)} ({costs})"
    )
    return [told, *(f"set {line}" for line in _settings(answer, remedy, reading))]


def _settings(answer: Answer, remedy: Remedy, reading: Reading) -> tuple[str, ...]:
    return settings_between(reading.format, answer.config, remedy.config)


def _passed_over(reading: Reading) -> list[str]:
    """What was taken for granted, in the order of its weight."""
    lines = [f"assumed: {text}" for text in reading.assumptions]
    if reading.unknown:
        lines.append(f"not understood, taken to have no bearing: {', '.join(reading.unknown)}")
    if reading.defaults:
        told = ", ".join(f"{key} = {_short(value)}" for key, value in reading.defaults)
        lines.append(f"{reading.title or 'advisor'}'s own defaults: {told}")
    if reading.ignored:
        lines.append(f"no bearing on memory: {', '.join(reading.ignored)}")
    return lines


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(one: Checked) -> dict[str, Any]:
    head: dict[str, Any] = {"file": one.name, "error": None if one.error is None else str(one.error)}
    if one.answer is None or one.reading is None:
        return head
    answer, reading = one.answer, one.reading
    return head | {
        "format": reading.format,
        "model": reading.model.name,
        "gpu": answer.gpu.name,
        "fits": answer.verdict is Verdict.FITS,
        "verdict": answer.verdict.value,
        "needed_bytes": answer.needed_bytes.to_json(),
        "minimum_reserved_bytes": answer.estimate.minimum_reserved_bytes,
        "room_bytes": answer.room_bytes,
        "config": answer.config.to_json(),
        "estimate": answer.estimate.to_json(),
        "remedy": None if answer.remedy is None else _remedy(answer, answer.remedy, reading),
        "notes": list(answer.notes),
        "assumptions": list(reading.assumptions),
        "defaults": dict(reading.defaults),
        "ignored": list(reading.ignored),
        "unknown": list(reading.unknown),
    }


def _remedy(answer: Answer, remedy: Remedy, reading: Reading) -> dict[str, Any]:
    return {
        "changes": list(remedy.changes),
        "costs": list(remedy.costs),
        "settings": list(_settings(answer, remedy, reading)),
        "needed_bytes": remedy.needed_bytes.to_json(),
        "config": remedy.config.to_json(),
    }
