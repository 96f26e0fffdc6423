"""From answers to a method: the first that is enough and not out, why, and what would change it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from advisor.errors import AdvisorError, unknown_name
from advisor.method.rules import FITS, Answers, Question, Rule, methods, questions, rules, thresholds

_MOST_EXAMPLES = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Another answer to one question, and the method that it leads to."""

    question: str
    answer: str
    method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do, and why."""

    method: str | None  # None: nothing answers the need yet
    also: tuple[str, ...]  # methods that belong beside it
    reasons: tuple[Rule, ...]  # for the method and for what belongs beside it
    notes: tuple[Rule, ...]
    rejected: tuple[tuple[str, str], ...]  # each other method, with why not
    changes: tuple[Change, ...]


def checked(given: Answers) -> tuple[dict[str, str | int], tuple[str, ...]]:
    """All answers, with defaults where none was given, and the defaults told as assumptions.

    Raises: AdvisorError for an answer that is none of the question's, or where one is missing that has no default.
    """
    full: dict[str, str | int] = {}
    assumed = []
    for question in questions():
        if question.code in given:
            full[question.code] = _checked(question, given[question.code])
        elif question.default is None:
            known = ", ".join(question.answers)
            raise AdvisorError(f"--{question.code} is missing.", why=question.ask, fix=f"one of {known}")
        else:
            full[question.code] = question.default
            meaning = question.answers.get(str(question.default), str(question.default))
            assumed.append(f"{question.code} = {question.default}: {meaning}")
    full |= {name: value for name, value in given.items() if name.startswith(FITS)}
    return full, tuple(assumed)


def decide(answers: Answers) -> Advice:
    """The method for checked answers."""
    chosen = _chosen(answers)
    acting = [rule for rule in rules() if rule.acts(answers)]
    also = [m for m in methods() if m != chosen and _has(acting, m, "also")] if chosen else []
    told = {*also, chosen}
    return Advice(
        method=chosen,
        also=tuple(also),
        reasons=tuple(
            r
            for r in acting
            if r.effect in ("enough", "also") and told & set(r.methods) and _counts(r, chosen)
        ),
        notes=tuple(r for r in acting if r.effect == "note" and told & set(r.methods)),
        rejected=tuple((m, _why_not(acting, m, chosen, answers)) for m in methods() if m not in told),
        changes=tuple(_changes(answers, chosen)),
    )


def _counts(rule: Rule, chosen: str | None) -> bool:
    return rule.effect == "also" or chosen in rule.methods


def _chosen(answers: Answers) -> str | None:
    acting = [rule for rule in rules() if rule.acts(answers)]
    able = (m for m in methods() if _has(acting, m, "enough") and not _has(acting, m, "out"))
    return next(able, None)


def _has(acting: list[Rule], method: str, effect: str) -> bool:
    return any(rule.effect == effect and method in rule.methods for rule in acting)


def _why_not(acting: list[Rule], method: str, chosen: str | None, answers: Answers) -> str:
    out = [rule.text for rule in acting if rule.effect == "out" and method in rule.methods]
    if out:
        return "; ".join(out)
    if _has(acting, method, "enough"):
        return f"would do, and takes more effort than {chosen}"
    nearest = min(
        (rule.unmet(answers) for rule in rules() if rule.effect == "enough" and method in rule.methods),
        key=len,
    )
    return f"would be enough with {', '.join(nearest)}"


def _changes(answers: Answers, chosen: str | None) -> Iterator[Change]:
    """Every single other answer that leads elsewhere."""
    for question in questions():
        seen = {chosen}
        for other in _others(question, answers[question.code]):
            method = _chosen({**answers, question.code: other})
            # Of numbers only the nearest counts; each named answer is one of its own.
            if method not in seen or (question.answers and method != chosen):
                seen.add(method)
                yield Change(question=question.code, answer=_told(question, other), method=method)


def _others(question: Question, given: str | int) -> Iterator[str | int]:
    if question.answers:
        yield from (answer for answer in question.answers if answer != given)
        return
    numbers = thresholds(question.code)
    yield from (number - 1 for number in reversed(numbers) if number <= int(given))
    yield from (number for number in numbers if number > int(given))


def _told(question: Question, answer: str | int) -> str:
    if question.answers:
        return str(answer)
    at_least = answer in thresholds(question.code)
    return f"{answer:,} or more" if at_least else f"{answer:,} or fewer"


def _checked(question: Question, answer: Any) -> str | int:
    if not question.answers:
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer <= _MOST_EXAMPLES:
            raise AdvisorError(f"--{question.code} {answer!r} is not a number of examples.", why=question.ask)
        return answer
    if answer not in question.answers:
        fix = f"one of {', '.join(question.answers)}"
        raise unknown_name(f"answer to --{question.code}", str(answer), question.answers, fix=fix)
    return str(answer)
