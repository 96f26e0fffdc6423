"""What one measurement holds; `profiles/README.md` explains every key."""

from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from advisor.records import TrainConfig

NO_BENCHMARK = 0  # the benchmark_version of a row that a run left: nobody set it up to be measured


class Outcome(StrEnum):
    """How a measurement ended; every one of them is a row."""

    OK = "ok"
    OOM = "oom"  # the card, or the cap, had no more to give
    UNSUPPORTED = "unsupported"  # this card or these libraries can't do it
    FAILED = "failed"  # anything else; the reason says what


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePeaks:
    """The largest figures seen in one phase; None where nobody could read them."""

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    peak_device_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What the card's clocks did over the timed steps."""

    sm_mhz_min: int
    sm_mhz_max: int
    throttle_reasons: tuple[str, ...]  # NVML's names; empty: nothing held it back


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What the card drew over the timed steps."""

    watts_mean: float
    watts_max: float
    energy_joules: float  # over the timed steps alone


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestCap:
    """The smallest memory caps under which the step ran; each is right to within the resolution, from above."""

    without_retries_bytes: int
    with_retries_bytes: int  # the allocator emptied its cache on the way, and went on
    resolution_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """What one group of kernels kept the card busy in one optimizer step, by CUDA's own trace."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured config on one card in one fresh process. Figures of a run that did not end are None."""

    id: str
    card: str  # the catalog's name
    environment: str  # the folder's name: torch's version and the fingerprint
    model: str  # the catalog's name
    config: TrainConfig
    outcome: Outcome
    reason: str  # empty where the outcome is ok
    benchmark_version: int  # the bench's way of measuring; NO_BENCHMARK: a run's
    measured_at: str  # UTC, ISO 8601
    provenance: str  # collected: by this project; contributed: merged from someone else
    cap_bytes: int | None  # what the allocator was allowed; None: the whole card
    shared: bool  # another process used the card: memory counts, time and the card's own figure do not
    static_bytes: int | None  # allocated when the first forward begins
    peak_allocated_bytes: int | None  # over load to the last training step, as the others
    peak_reserved_bytes: int | None
    peak_device_bytes: int | None  # NVML's used memory of the card; None where it could not be read
    alloc_retries: int | None
    allocator_settings: str | None  # PYTORCH_CUDA_ALLOC_CONF
    phases: dict[str, PhasePeaks]
    warmup_steps: int  # so many of `step_seconds`, from the first, are warm-up
    step_seconds: tuple[float, ...]  # wall time of each optimizer step, raw
    clocks: Clocks | None
    power: Power | None
    host_peak_bytes: int | None  # resident memory of the process
    smallest_cap: SmallestCap | None
    host_pace_seconds: float | None  # of the probe's `launch.layer_forward_backward`, right after the steps
    kernels: dict[str, KernelTime] | None  # by group; None where they were not asked for

    @property
    def timed_seconds(self) -> tuple[float, ...]:
        """The steps after the warm-up."""
        return self.step_seconds[self.warmup_steps :]

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens by the median timed step; None where time does not count."""
        if self.outcome is not Outcome.OK or self.shared or not self.timed_seconds:
            return None
        return self.config.tokens_per_step / median(self.timed_seconds)

    @property
    def joules_per_token(self) -> float | None:
        """The card's energy for one token; None where it was not read."""
        if self.power is None or self.shared or not self.timed_seconds:
            return None
        return self.power.energy_joules / (self.config.tokens_per_step * len(self.timed_seconds))
