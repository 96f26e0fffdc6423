"""What was measured of a very config on a very card, with packages that are no others in their first number."""

from collections.abc import Iterator, Sequence
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
from advisor.residuals.facts import Facts
from advisor.residuals.ranges import byte_range, on_device
from advisor.residuals.table import REPEATS, shipped
from advisor.tape.versions import PACKAGES, installed_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The peaks of one or more rows of one config: of each the middle one, the least and the largest."""

    rows: int
    peaks: dict[str, ByteInterval]  # allocated and reserved; device where a row had the card for itself

    @property
    def evidence(self) -> Evidence:
        """The rows, as an estimate names them."""
        return Evidence(basis=Basis.MEASURED, rows=self.rows)

    @property
    def reserved(self) -> ByteInterval:
        """What decides."""
        return self.peaks["reserved"]

    def ranged(self, figure: str, unit_bytes: int, facts: Facts) -> ByteInterval:
        """With the range of measuring it again, which holds what was seen."""
        seen, counted = self.peaks[figure], "allocated" if figure == "allocated" else "reserved"
        told = byte_range(shipped(REPEATS), facts, counted, seen.value, unit_bytes)
        return ByteInterval(value=seen.value, low=min(told.low, seen.low), high=max(told.high, seen.high))


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
    return {config: _summed_up(rows) for config, rows in found.items()}


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


def _summed_up(rows: Sequence[Measurement]) -> Measured:
    seen = {
        "allocated": [row.peak_allocated_bytes for row in rows],
        "reserved": [row.peak_reserved_bytes for row in rows],
        "device": [None if row.shared else row.peak_device_bytes for row in rows],
    }
    return Measured(rows=len(rows), peaks=dict(_peaks(seen)))


def _peaks(seen: dict[str, list[int | None]]) -> Iterator[tuple[str, ByteInterval]]:
    for figure, sizes in seen.items():
        known = [size for size in sizes if size]
        if known:
            yield figure, ByteInterval(value=median_low(known), low=min(known), high=max(known))


def with_measured(told: Estimate, seen: Measured, gpu: GpuSpec, facts: Facts, block_bytes: int) -> Estimate:
    """The estimate with the measured peaks in place of the simulated ones, and those beside them."""
    device = told.peak_device_bytes
    assert device is not None  # only on a card is anything measured
    reserved = seen.ranged("reserved", block_bytes, facts)
    return replace(
        told,
        evidence=seen.evidence,
        peak_allocated_bytes=seen.ranged("allocated", seen.peaks["allocated"].value, facts),
        peak_reserved_bytes=reserved,
        peak_device_bytes=_of_the_card(seen, reserved, gpu),
        simulated=Peaks(
            allocated_bytes=told.peak_allocated_bytes.value,
            reserved_bytes=told.peak_reserved_bytes.value,
            device_bytes=device.value,
        ),
    )


def _of_the_card(seen: Measured, reserved: ByteInterval, gpu: GpuSpec) -> ByteInterval:
    """As NVML counted it, as sure as the reserved peak and the context are: another driver keeps more or less."""
    told = on_device(reserved, gpu)
    if "device" not in seen.peaks:
        return told
    value = seen.peaks["device"].value
    return ByteInterval(
        value=value, low=value - (told.value - told.low), high=value + (told.high - told.value)
    )
