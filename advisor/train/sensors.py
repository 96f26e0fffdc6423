"""What a card says of itself through NVML: memory, who else is on it, clocks, power.

Nothing here raises for what a driver, a card or a container does not tell: such a reading is None.
"""

# ruff: noqa: D102, N802 - the functions of the Protocol have NVML's own names and meanings

import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID

import pynvml

from advisor.profiles.record import Clocks, Power

T = TypeVar("T")
_MEMORY_V2 = pynvml.nvmlMemory_v2  # tells what the driver keeps apart from what is used
_IDLE_BYTES = 256 << 20  # a driver's own bookkeeping stays below; a display or a process does not
# What holds clocks down, by NVML's names. Idle (0x1) and clocks that a user set (0x2) are no throttling.
_NOT_THROTTLING = 0x1 | 0x2
_REASONS = {
    0x4: "SwPowerCap",
    0x8: "HwSlowdown",
    0x10: "SyncBoost",
    0x20: "SwThermalSlowdown",
    0x40: "HwThermalSlowdown",
    0x80: "HwPowerBrakeSlowdown",
    0x100: "DisplayClockSetting",
    0x200: "BoardLimit",
    0x400: "Reliability",
}


class Nvml(Protocol):
    """The part of pynvml that is asked; each may raise what pynvml raises."""

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetHandleByUUID(self, uuid: str, /) -> Any: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None, /) -> Any: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any, /) -> list[Any]: ...
    def nvmlDeviceGetClockInfo(self, handle: Any, clock: int, /) -> int: ...
    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any, /) -> int: ...
    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, /) -> int: ...
    def nvmlDeviceGetPowerUsage(self, handle: Any, /) -> int: ...
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, /) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the sensors told over a time; None where the driver has no such reading."""

    sm_mhz_min: int | None
    sm_mhz_max: int | None
    throttle_reasons: tuple[str, ...] | None  # NVML's names, sorted; empty: nothing held it back
    watts_mean: float | None
    watts_max: float | None
    energy_joules: float | None


def to_clocks_and_power(readings: Readings) -> tuple[Clocks | None, Power | None]:
    """The readings as a row holds them; None where a part of either is unknown."""
    clocks = power = None
    low, high, reasons = readings.sm_mhz_min, readings.sm_mhz_max, readings.throttle_reasons
    if low is not None and high is not None and reasons is not None:
        clocks = Clocks(sm_mhz_min=low, sm_mhz_max=high, throttle_reasons=reasons)
    mean, most, energy = readings.watts_mean, readings.watts_max, readings.energy_joules
    if mean is not None and most is not None and energy is not None:
        power = Power(watts_mean=mean, watts_max=most, energy_joules=energy)
    return clocks, power


def first_visible_uuid() -> str | None:
    """The UUID of the card that CUDA calls 0, asked without making a context; None where there is no driver.

    It starts the CUDA driver in this process: a process forked afterwards can't use CUDA.
    """
    identity = (ctypes.c_ubyte * 16)()
    device = ctypes.c_int()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        calls: tuple[Callable[[], int], ...] = (
            lambda: cuda.cuInit(0),
            lambda: cuda.cuDeviceGet(ctypes.byref(device), 0),
            lambda: cuda.cuDeviceGetUuid(ctypes.byref(identity), device),
        )
        if any(call() for call in calls):
            return None
    except (OSError, AttributeError):
        return None
    return str(UUID(bytes=bytes(identity)))


@dataclass(slots=True)
class CardSensors:
    """One card as NVML sees it.

    Limits: NVML counts the whole card. In a container it may list no process, or number them otherwise than
    the container does; on a virtual or a partitioned card most readings are missing.
    """

    nvml: Nvml
    handle: Any
    opened_used_bytes: int | None = None  # not free when opened
    idle_used_bytes: int | None = None  # of that, what the driver does not keep for itself

    @classmethod
    def open(cls, uuid: str | None, nvml: Nvml = pynvml) -> Self | None:
        """The card of this UUID, or the first that CUDA shows; None where NVML or the card can't be found.

        By UUID, for NVML counts also the cards that CUDA_VISIBLE_DEVICES hides. Open it before this process
        makes a context, and `idle_used_bytes` is what others hold.
        """
        uuid = uuid or first_visible_uuid()
        if uuid is None:
            return None
        names = (uuid,) if uuid.startswith(("GPU-", "MIG-")) else (f"GPU-{uuid}", f"MIG-{uuid}")
        for name in names:
            if (handle := _or_none(_handle, nvml, name)) is not None:
                made = cls(nvml, handle)
                made.opened_used_bytes = made.used_bytes()
                made.idle_used_bytes = _or_none(_used_without_reserved, nvml, handle)
                return made
        return None

    def used_bytes(self) -> int | None:
        """Memory of the card that is not free, with what the driver keeps for itself."""
        return _or_none(lambda: int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used))

    def other_processes(self, own_pid: int) -> tuple[int, ...] | None:
        """The compute processes on the card but this one.

        Limits: in a container or a virtual machine NVML may list none, or list this one under the host's
        number. So ask before this process has a context, and look at `idle_used_bytes` also.
        """
        listed = _or_none(self.nvml.nvmlDeviceGetComputeRunningProcesses, self.handle)
        if listed is None:
            return None
        return tuple(sorted({int(process.pid) for process in listed} - {own_pid}))

    def used_by_others(self, own_pid: int) -> bool:
        """Whether someone else is on the card; ask before this process is."""
        return bool(self.other_processes(own_pid)) or (self.idle_used_bytes or 0) > _IDLE_BYTES

    @contextmanager
    def watch(self, interval_seconds: float = 0.05) -> Iterator["Watch"]:
        """Read clocks and power in a thread of its own; `readings()` of what is given tells them afterwards.

        Limits: on most cards since Ampere NVML's power is a mean over the last second, so a shorter watch
        tells also what came before it.
        """
        watch = Watch(self)
        watch.sample()
        ended = threading.Event()
        thread = threading.Thread(target=watch.sample_until, args=(ended, interval_seconds), daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            ended.set()
            thread.join()
            watch.sample()

    def sm_mhz(self) -> int | None:
        """The clock of the multiprocessors, now."""
        return _or_none(self.nvml.nvmlDeviceGetClockInfo, self.handle, pynvml.NVML_CLOCK_SM)

    def throttle_bits(self) -> int | None:
        """NVML's mask of what holds the clocks now; drivers before 535 know it by its older name."""
        bits = _or_none(self.nvml.nvmlDeviceGetCurrentClocksEventReasons, self.handle)
        if bits is None:
            bits = _or_none(self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self.handle)
        return bits

    def watts(self) -> float | None:
        """What the card draws now."""
        return _or_none(lambda: self.nvml.nvmlDeviceGetPowerUsage(self.handle) / 1e3)

    def joules(self) -> float | None:
        """The card's energy since the driver was loaded; cards before Volta do not count it."""
        return _or_none(lambda: self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3)


@dataclass(slots=True)
class Watch:
    """What was read so far; each list holds only what the driver told."""

    sensors: CardSensors
    sm_mhz: list[int] = field(default_factory=list)
    throttle_bits: list[int] = field(default_factory=list)
    watts: list[tuple[float, float]] = field(default_factory=list)  # with the second of the reading
    joules: list[float] = field(default_factory=list)

    def sample_until(self, ended: threading.Event, interval_seconds: float) -> None:
        """A sample each interval until told to end; it sleeps in between."""
        while not ended.wait(interval_seconds):
            self.sample()

    def sample(self) -> None:
        """Read everything once."""
        sensors = self.sensors
        _keep(self.sm_mhz, sensors.sm_mhz())
        _keep(self.throttle_bits, sensors.throttle_bits())
        _keep(self.joules, sensors.joules())
        watts = sensors.watts()
        _keep(self.watts, None if watts is None else (time.perf_counter(), watts))

    def readings(self) -> Readings:
        """What all samples together say."""
        watts = [value for _, value in self.watts]
        drawn_joules = _integral(self.watts)
        counted_joules = self.joules[-1] - self.joules[0] if self.joules else 0.0
        return Readings(
            sm_mhz_min=min(self.sm_mhz, default=None),
            sm_mhz_max=max(self.sm_mhz, default=None),
            throttle_reasons=_reasons(self.throttle_bits) if self.throttle_bits else None,
            watts_mean=sum(watts) / len(watts) if watts else None,
            watts_max=max(watts, default=None),
            # The counter moves some ten times a second: over less it may stand still.
            energy_joules=counted_joules if counted_joules > 0 else drawn_joules,
        )


def _handle(nvml: Nvml, uuid: str) -> Any:
    nvml.nvmlInit()
    return nvml.nvmlDeviceGetHandleByUUID(uuid)


def _used_without_reserved(nvml: Nvml, handle: Any) -> int:
    return int(nvml.nvmlDeviceGetMemoryInfo(handle, _MEMORY_V2).used)


def _reasons(masks: list[int]) -> tuple[str, ...]:
    seen = 0
    for mask in masks:
        seen |= mask & ~_NOT_THROTTLING
    bits = (1 << place for place in range(seen.bit_length()))
    return tuple(sorted(_REASONS.get(bit, f"Unknown{bit:#x}") for bit in bits if seen & bit))


def _integral(watts: list[tuple[float, float]]) -> float | None:
    """Joules under the samples, joined by straight lines."""
    if len(watts) < 2:
        return None
    pairs = itertools.pairwise(watts)
    return sum((later - earlier) * (a + b) / 2 for (earlier, a), (later, b) in pairs)


def _keep(values: list[T], value: T | None) -> None:
    if value is not None:
        values.append(value)


def _or_none(read: Callable[..., T], *arguments: Any) -> T | None:
    """What is read, or None where NVML says that it can't be."""
    try:
        return read(*arguments)
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):
        return None
