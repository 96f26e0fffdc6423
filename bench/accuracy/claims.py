"""What is claimed of the accuracy, and whether the rows keep it: `claims.toml`."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import comb
from typing import Any

from bench.accuracy.compared import OWN, Accuracy, Compared, Figure, Verdict
from bench.accuracy.groups import at_risks, counted, summarise

_ENOUGH = 20  # rows, to judge a share of them in range
_LUCK = 0.05  # what comes less often than that is no luck
ROOM = 0.03  # a verdict is wrong only where the predicted minimum is beyond the room by more than this


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One claim, and what the rows say to it."""

    claim: str
    rows: int
    broken: str  # what breaks it; empty where it is kept

    @property
    def text(self) -> str:
        """The claim with its answer."""
        return f"{self.claim}: {self.broken or 'kept'} ({self.rows} rows)"


def claims_kept(accuracy: Accuracy) -> list[Kept]:
    """Every claim about rows that are there, and the verdicts that no row may contradict."""
    rows = counted(accuracy.compared)
    found = [_kept(claim, rows) for claim in _table()["claim"]]
    told = (*found, *_risks_kept(accuracy), *_verdicts_kept(accuracy.verdicts))
    return [kept for kept in told if kept.rows]


def is_wrong(verdict: Verdict) -> bool:
    """Predicted to fit with room where it ran out, or not to fit by more than the room where it ran."""
    return verdict.excess < -ROOM if verdict.outcome == "oom" else verdict.excess > ROOM


def _verdicts_kept(verdicts: Sequence[Verdict]) -> list[Kept]:
    out = [v for v in verdicts if v.outcome == "oom"]
    ran = [v for v in verdicts if v.outcome == "ok"]
    return [
        Kept(
            claim=f"no row that ran out of memory is predicted to fit with {ROOM:.0%} to spare",
            rows=len(out),
            broken=", ".join(v.name for v in out if is_wrong(v)),
        ),
        Kept(
            claim=f"no row that ran is predicted to lack more than {ROOM:.0%}",
            rows=len(ran),
            broken=", ".join(v.name for v in ran if is_wrong(v)),
        ),
    ]


def _kept(claim: dict[str, Any], rows: Sequence[Compared]) -> Kept:
    figures = [row.figures[claim["figure"]] for row in rows if _concerned(claim, row)]
    return Kept(
        claim=claim["says"], rows=len(figures), broken="; ".join(_broken(claim, figures)) if figures else ""
    )


def _concerned(claim: dict[str, Any], row: Compared) -> bool:
    own = row.source == OWN
    precision = row.config.precision.value
    return (
        own is (claim["of"] == OWN)
        and claim["figure"] in row.figures
        and precision in claim.get("precisions", [precision])
        and precision not in claim.get("but", [])
        and row.outliers is claim.get("outliers", row.outliers)
    )


def _broken(claim: dict[str, Any], figures: Sequence[Figure]) -> list[str]:
    seen = summarise("", claim["figure"], figures)
    found = [
        f"{name.replace('_', ' ')} {value:.3%}"
        for name, value, limit in (
            ("mean_absolute", seen.mean_absolute, claim.get("mean_absolute")),
            ("worst_under", -seen.worst_under, claim.get("worst_under")),
            ("worst_over", seen.worst_over, claim.get("worst_over")),
        )
        if limit is not None and value > limit
    ]
    least, most = claim.get("covered", (0.0, 1.0))
    judged = "covered" in claim and len(figures) >= _ENOUGH
    if judged and (seen.covered is None or not least <= seen.covered <= most):
        found.append(f"{seen.covered or 0:.1%} in the predicted range")
    return found


def _risks_kept(accuracy: Accuracy) -> list[Kept]:
    """That no more rows needed more than is said of the risk, but for what is luck."""
    seen = {row["risk"]: row["needed_more"] for row in _table()["risk"]}
    own = at_risks(counted(accuracy.of(own=True).compared))
    return [
        Kept(
            claim=f"own rows: at a risk of {s.risk:.0%}, no more than {seen.get(s.risk, s.risk):.0%} reserved more than was said",
            rows=s.count,
            broken=""
            if _chance(s.count, round(s.exceeded * s.count), seen.get(s.risk, s.risk)) >= _LUCK
            else f"{s.exceeded:.1%}",
        )
        for s in own
    ]


def _chance(rows: int, seen: int, risk: float) -> float:
    """Of seeing as many or more among so many rows, each with that risk."""
    return 1 - sum(comb(rows, n) * risk**n * (1 - risk) ** (rows - n) for n in range(seen))


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("bench.accuracy").joinpath("claims.toml").read_text(encoding="utf-8"))
