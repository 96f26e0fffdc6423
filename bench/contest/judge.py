"""The verdict: how the plan's measured speed compares with the best of all that was measured under the same cap."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.goals import Goal
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import find_best
from advisor.plan.search import Clock
from advisor.profiles.record import Measurement, Outcome
from advisor.records import TrainConfig
from bench.contest.grid import search_under, shortened

GOALS = (Goal.FASTEST, Goal.QUALITY)
_TIMED_ALIKE = (2, 3)  # ways of measuring (profiles/README.md) that time a step alike
_LEAST_ROWS = 10  # that ran: fewer are no contest, only rows that happen to have a cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """All rows of one model on one card under one cap, of as many sequences a step."""

    card: str
    environment: str
    model: str
    cap_bytes: int
    sequence_length: int
    sequences_a_step: int
    rows: tuple[Measurement, ...]

    @property
    def ran(self) -> list[Measurement]:
        """Those that ended well, the fastest first."""
        timed = [row for row in self.rows if row.tokens_per_second]
        return sorted(timed, key=lambda row: -(row.tokens_per_second or 0.0))

    @property
    def best(self) -> Measurement:
        """The fastest."""
        return self.ran[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Today's plan in one field, for one goal."""

    goal: Goal
    plan: TrainConfig | None  # as it was measured; None where nothing fits
    row: Measurement | None  # its row; None where it was not measured
    predicted_tokens_per_second: float | None  # of the whole step, by the clock
    why: str = ""  # why there is no plan

    @property
    def tokens_per_second(self) -> float | None:
        """Measured."""
        return None if self.row is None else self.row.tokens_per_second

    def share_of(self, best: Measurement) -> float | None:
        """The plan's speed over the best's; 0 where the plan ran out of memory, None where it was not measured."""
        if self.row is None:
            return None
        return (self.tokens_per_second or 0.0) / (best.tokens_per_second or 1.0)

    def place_in(self, field: Field) -> int | None:
        """1 for the fastest."""
        mine = self.tokens_per_second
        return None if mine is None else 1 + sum((row.tokens_per_second or 0.0) > mine for row in field.ran)


def fields_of(rows: Iterable[Measurement]) -> list[Field]:
    """Every contest among the rows: at least ten that ran, alike in all that a contest holds."""
    alike: dict[tuple[str, str, str, int, int, int], list[Measurement]] = defaultdict(list)
    for row in rows:
        if row.cap_bytes is None or row.shared or row.benchmark_version not in _TIMED_ALIKE:
            continue
        config = row.config
        place = (row.card, row.environment, row.model)
        alike[*place, row.cap_bytes, config.sequence_length, config.effective_batch].append(row)
    fields = [
        Field(
            card=card,
            environment=environment,
            model=model,
            cap_bytes=cap,
            sequence_length=length,
            sequences_a_step=sequences,
            rows=tuple(those),
        )
        for (card, environment, model, cap, length, sequences), those in sorted(alike.items())
    ]
    return [field for field in fields if len(field.ran) >= _LEAST_ROWS]


def judged(
    field: Field, estimator: Estimator, *, effective_batch: int | None = None, clock: Clock | None = None
) -> Iterator[Verdict]:
    """The plan of each goal, planned anew, so that the verdict is of this version."""
    model, gpu = find_model(field.model)[0], find_gpu(field.card)[0]
    for goal in GOALS:
        options = PlanOptions(
            goal=goal,
            sequence_length=field.sequence_length,
            effective_batch=effective_batch or field.sequences_a_step,
            evaluates=False,  # rows are of training alone
        )
        search = search_under(model, gpu, field.cap_bytes, estimator, options, clock)
        try:
            found = find_best(search, lanes(gpu, options, model))
        except AdvisorError as error:
            yield Verdict(goal=goal, plan=None, row=None, predicted_tokens_per_second=None, why=error.what)
            continue
        if found is None:
            yield Verdict(
                goal=goal, plan=None, row=None, predicted_tokens_per_second=None, why="nothing fits"
            )
            continue
        plan = shortened(found.config, field.sequences_a_step)
        yield Verdict(
            goal=goal,
            plan=plan,
            row=_row_of(plan, field),
            predicted_tokens_per_second=found.tokens_per_second,
        )


def _row_of(plan: TrainConfig, field: Field) -> Measurement | None:
    """The plan's row; one that a run out of memory ended counts, too."""
    same = [row for row in field.rows if _plainly(row.config) == _plainly(plan)]
    ended = [row for row in same if row.outcome in (Outcome.OK, Outcome.OOM)]
    return max(ended, key=lambda row: row.measured_at, default=None)


def _plainly(config: TrainConfig) -> TrainConfig:
    """Without what the method does not read."""
    return replace(config, trainable_layers=TrainConfig().trainable_layers)
