"""One model on many cards: which hold it, how fast, for how much, and which is the least that will do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from advisor.catalog.gpus import usable_bytes
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.duration import Duration, duration
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import find_best, open_search
from advisor.plan.prices import Prices
from advisor.plan.search import Clock, Examined
from advisor.profiles.record import Measurement
from advisor.records import GpuSpec, ModelSpec

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCard:
    """The best on one card."""

    gpu: GpuSpec
    found: Examined | None  # None where nothing fits
    why_not: str = ""
    took: Duration | None = None  # None where no tokens were given
    cost: float | None = None  # None where there is no price, or no tokens

    def in_time(self, deadline_seconds: float | None) -> bool:
        """Whether it fits, and ends by then at the upper end of its range."""
        if self.found is None:
            return False
        late = deadline_seconds is not None and (
            self.took is None or self.took.seconds.high > deadline_seconds
        )
        return not late


def on_cards(  # noqa: PLR0913 - what the answer depends on
    model: ModelSpec,
    gpus: Iterable[GpuSpec],
    options: PlanOptions,
    estimator: Estimator,
    *,
    tokens: int | None = None,
    prices: Prices | None = None,
    rows: Iterable[Measurement] = (),
    clock: Clock | None = None,
) -> Iterator[OnCard]:
    """The best on each card, in their order."""
    known = list(rows)
    for gpu in gpus:
        try:
            search = open_search(model, gpu, options, estimator, clock)
            found = find_best(search, lanes(gpu, options, model))
        except AdvisorError as error:
            yield OnCard(gpu=gpu, found=None, why_not=error.what)
            continue
        if found is None or found.step_seconds is None:
            yield OnCard(gpu=gpu, found=None, why_not="does not fit")
            continue
        took = None if tokens is None else duration(tokens, found.config, found.step_seconds, gpu.slug, known)
        yield OnCard(gpu=gpu, found=found, took=took, cost=_cost(gpu, took, prices))


def _cost(gpu: GpuSpec, took: Duration | None, prices: Prices | None) -> float | None:
    if took is None or prices is None or gpu.slug not in prices.per_hour:
        return None
    return took.seconds.value / _SECONDS_PER_HOUR * prices.per_hour[gpu.slug]


def cheapest_first(cards: Iterable[OnCard], deadline_seconds: float | None) -> list[OnCard]:
    """Those that will do: by cost where it is known, then by memory, then the faster first."""

    def order(card: OnCard) -> tuple[float, int, float]:
        speed = card.found.tokens_per_second if card.found else 0.0
        cost = float("inf") if card.cost is None else card.cost
        return cost, usable_bytes(card.gpu), -speed

    return sorted((card for card in cards if card.in_time(deadline_seconds)), key=order)
