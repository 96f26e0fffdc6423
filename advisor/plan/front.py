"""What is worth choosing from: configs than which none is better in memory, speed and worth at once."""

from collections.abc import Iterable, Sequence

from advisor.plan.document import Point
from advisor.plan.search import Examined, Search, is_free
from advisor.plan.worth import worth

_NEAR_THE_EDGE = 0.85  # of the room: beyond it a bound does not say enough
_PROOFS = 6  # replays that the front may cost, unless all are asked for
_HARDLY = 0.01  # a gain too small for a row of its own


def front(search: Search, chosen: Examined, *, prove_all: bool = False) -> tuple[Point, ...]:
    """The front of all that was looked at, fastest first; what a bound does not settle is replayed."""
    left = _PROOFS
    while True:
        known = [one for one in search.fits() if not one.retries and is_free(one.lane, search.ask)]
        best = _front(known, chosen)
        unsure = [one for one in best if _is_unsure(search, one, prove_all=prove_all)]
        if not unsure:
            return tuple(_point(one, chosen) for one in best)
        if left <= 0 and not prove_all:
            return tuple(_point(one, chosen) for one in best if one not in unsure)
        search.prove(unsure[0])
        left -= 1


def _is_unsure(search: Search, one: Examined, *, prove_all: bool) -> bool:
    near = one.needed_bytes > _NEAR_THE_EDGE * search.ask.room_bytes
    return not one.exact and (prove_all or near)


def _front(known: Iterable[Examined], chosen: Examined) -> list[Examined]:
    """Not dominated, the chosen one always among them; fastest first."""
    kept: list[Examined] = [chosen]
    others = (one for one in known if one.config != chosen.config)
    for one in sorted(others, key=lambda one: (-one.tokens_per_second, one.needed_bytes)):
        if not _is_dominated(one, kept):
            kept.append(one)
    return sorted(kept, key=lambda one: -one.tokens_per_second)


def _is_dominated(one: Examined, kept: Sequence[Examined]) -> bool:
    """Whether another is as good in all three, or hardly worse."""
    return any(
        other.tokens_per_second >= one.tokens_per_second * (1 - _HARDLY)
        and other.needed_bytes <= one.needed_bytes * (1 + _HARDLY)
        and worth(other.config) >= worth(one.config)
        for other in kept
    )


def _point(one: Examined, chosen: Examined) -> Point:
    return Point(
        label=one.lane.label,
        config=one.config,
        needed_bytes=one.needed_bytes,
        lower_bound=not one.exact,
        tokens_per_second=one.tokens_per_second,
        worth=worth(one.config),
        chosen=one.config == chosen.config,
    )
