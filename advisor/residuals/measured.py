"""What was measured of a very config on a very card, with packages that are no others in their first number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from statistics import median_low

from advisor.catalog.models import find_model
from advisor.errors import AdvisorError
from advisor.evidence import Basis, Evidence, Peaks
from advisor.profiles.environments import known_environment
from advisor.profiles.record import Measurement, Outcome
from advisor.profiles.store import rows_of
from advisor.records import ByteInterval, Estimate, GpuSpec, ModelSpec, TrainConfig
from advisor.residuals.ranges import on_device
from advisor.residuals.table import MEMORY, shipped
from advisor.tape.versions import PACKAGES, installed_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The peaks of one or more rows of one config: the middle one, the least and the largest."""

    rows: int
    allocated: ByteInterval
    reserved: ByteInterval
    device: ByteInterval | None  # None where no row had the card for itself

    @property
    def evidence(self) -> Evidence:
        """The rows, as an estimate names them."""
        return Evidence(basis=Basis.MEASURED, rows=self.rows)


class MeasuredConfigs:
    """Finds rows; reads the files of a model on a card once."""

    def __init__(self) -> None:
        """Nothing is read before it is asked for."""
        self._known: dict[tuple[str, str], dict[TrainConfig, Measured]] = {}

    def find(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> Measured | None:
        """What is known of the config, if anything.

        Raises: AdvisorError where the rows can't be read.
        """
        if gpu is None:
            return None
        key = (gpu.slug, model.name)
        if key not in self._known:
            self._known[key] = _measured(model, gpu)
        return self._known[key].get(config)


def _measured(model: ModelSpec, gpu: GpuSpec) -> dict[TrainConfig, Measured]:
    found: dict[TrainConfig, list[Measurement]] = {}
    if not _is_of_the_catalog(model):
        return {}
    alike = cache(partial(_alike, gpu.slug))
    for row in rows_of(gpu.slug, model.name):
        whole = row.outcome is Outcome.OK and row.cap_bytes is None
        if whole and row.peak_allocated_bytes and row.peak_reserved_bytes and alike(row.environment):
            found.setdefault(row.config, []).append(row)
    return {config: _summed_up(rows, gpu) for config, rows in found.items()}


def _is_of_the_catalog(model: ModelSpec) -> bool:
    """Rows go by the catalog's name; a config.json of the same name may say other things."""
    try:
        return find_model(model.name)[0].config == model.config
    except AdvisorError:
        return False


def _alike(card: str, environment: str) -> bool:
    """Whether what ran there has the first numbers of what is installed; what is missing on either side tells nothing."""
    theirs = known_environment(card, environment)["packages"]
    pairs = [(_first(theirs.get(name, "")), _first(installed_version(name))) for name in PACKAGES]
    return all(one == other for one, other in pairs if one.isdigit() and other.isdigit())


def _first(version: str) -> str:
    return version.partition(".")[0]


def _summed_up(rows: Sequence[Measurement], gpu: GpuSpec) -> Measured:
    """With what two runs of one config may differ by: as little as torch counts, and what the context is not sure of."""

    def middle(of: Callable[[Measurement], int | None], doubt_bytes: int) -> ByteInterval | None:
        seen = [size for size in map(of, rows) if size]
        if not seen:
            return None
        return ByteInterval(value=median_low(seen), low=min(seen) - doubt_bytes, high=max(seen) + doubt_bytes)

    table = shipped(MEMORY)
    allocated = middle(lambda row: row.peak_allocated_bytes, table.floor_bytes("allocated"))
    reserved = middle(lambda row: row.peak_reserved_bytes, table.floor_bytes("reserved"))
    assert allocated is not None
    assert reserved is not None
    return Measured(
        rows=len(rows),
        allocated=allocated,
        reserved=reserved,
        device=middle(
            lambda row: None if row.shared else row.peak_device_bytes, gpu.context_uncertainty_bytes
        ),
    )


def with_measured(told: Estimate, seen: Measured, gpu: GpuSpec) -> Estimate:
    """The estimate with the measured peaks in place of the simulated ones, and those beside them."""
    device = told.peak_device_bytes
    assert device is not None  # only on a card is anything measured
    return replace(
        told,
        evidence=seen.evidence,
        peak_allocated_bytes=seen.allocated,
        peak_reserved_bytes=seen.reserved,
        peak_device_bytes=seen.device or on_device(seen.reserved, gpu),
        simulated=Peaks(
            allocated_bytes=told.peak_allocated_bytes.value,
            reserved_bytes=told.peak_reserved_bytes.value,
            device_bytes=device.value,
        ),
    )
