"""The card's sensors through NVML: what they tell, and what a driver that tells less leaves unknown."""

# ruff: noqa: N802 - the stand-in answers to NVML's own names

import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml
import pytest

from advisor.profiles.record import Clocks, Power
from advisor.train.sensors import CardSensors, Readings, Watch, first_visible_uuid, to_clocks_and_power

UUID = "8f1c2d3e-0000-1111-2222-333344445555"
UNTOLD = Readings(
    sm_mhz_min=None,
    sm_mhz_max=None,
    throttle_reasons=None,
    watts_mean=None,
    watts_max=None,
    energy_joules=None,
)


@dataclass
class Driver:
    """An NVML that tells what it is given, and raises pynvml's own error for what it is told to lack."""

    lacks: dict[str, type[Exception]] = field(default_factory=dict)
    pids: tuple[int, ...] = ()
    mhz: list[int] = field(default_factory=lambda: [1980])
    bits: list[int] = field(default_factory=lambda: [0])
    milliwatts: list[int] = field(default_factory=lambda: [300_000])
    millijoules: list[int] = field(default_factory=lambda: [0])
    prefix: str = "GPU-"
    idle_bytes: int = 300
    opened: list[str] = field(default_factory=list)

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *arguments: self._answer(name, arguments)

    def _answer(self, name, arguments):
        if name in self.lacks:
            raise self.lacks[name]
        return getattr(self, "_" + name.removeprefix("nvml").removeprefix("DeviceGet"))(*arguments)

    def _Init(self):
        pass

    def _HandleByUUID(self, uuid):
        self.opened.append(uuid)
        if uuid != self.prefix + UUID:
            raise pynvml.NVMLError_NotFound
        return "handle"

    def _MemoryInfo(self, _handle, version=None):
        if version is None:
            return SimpleNamespace(used=900)
        if "v2" in self.lacks:
            raise self.lacks["v2"]
        return SimpleNamespace(used=self.idle_bytes, reserved=600)

    def _ComputeRunningProcesses(self, _handle):
        return [SimpleNamespace(pid=pid) for pid in self.pids]

    def _ClockInfo(self, _handle, clock):
        assert clock == pynvml.NVML_CLOCK_SM
        return _next(self.mhz)

    def _CurrentClocksEventReasons(self, _handle):
        return _next(self.bits)

    _CurrentClocksThrottleReasons = _CurrentClocksEventReasons

    def _PowerUsage(self, _handle):
        return _next(self.milliwatts)

    def _TotalEnergyConsumption(self, _handle):
        return _next(self.millijoules)


def _next(values):
    """The next value; the last one stays."""
    return values.pop(0) if len(values) > 1 else values[0]


def watched(driver: Driver, samples: int = 3) -> Readings:
    """What so many samples say, without a thread."""
    watch = Watch(CardSensors.open(UUID, driver))
    for _ in range(samples):
        watch.sample()
    return watch.readings()


def test_a_machine_without_nvml_has_no_sensors():
    """The real pynvml where the driver's library is missing: nothing raises."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert None is CardSensors.open(UUID)
        assert None is CardSensors.open(None)
    else:
        assert None is CardSensors.open("GPU-no-such-card")


def test_the_first_card_is_found_by_the_driver_or_not_at_all():
    """A UUID where there is a driver with a card, else None."""
    uuid = first_visible_uuid()

    assert uuid is None or len(UUID) == len(uuid)


@pytest.mark.parametrize("given", [UUID, f"GPU-{UUID}"])
def test_a_card_is_opened_by_its_uuid(given):
    """With NVML's prefix or without, as torch tells it."""
    driver = Driver()

    assert 900 == CardSensors.open(given, driver).used_bytes()
    assert [f"GPU-{UUID}"] == driver.opened


def test_a_part_of_a_card_is_opened_by_its_uuid():
    """CUDA tells a MIG instance's UUID as any other."""
    driver = Driver(prefix="MIG-")

    assert 900 == CardSensors.open(UUID, driver).used_bytes()


def test_a_card_that_nvml_does_not_list_has_no_sensors():
    """NVML knows no such card."""
    assert None is CardSensors.open("GPU-of-elsewhere", Driver())


def test_idle_memory_leaves_out_what_the_driver_keeps():
    """300 bytes are someone's; 900 with what the driver reserves."""
    sensors = CardSensors.open(UUID, Driver())

    assert (300, 900) == (sensors.idle_used_bytes, sensors.used_bytes())


def test_an_older_driver_can_not_tell_idle_memory():
    """Its memory figure does not tell apart what the driver keeps."""
    sensors = CardSensors.open(UUID, Driver(lacks={"v2": pynvml.NVMLError_FunctionNotFound}))

    assert (None, 900) == (sensors.idle_used_bytes, sensors.used_bytes())


def test_other_processes_are_those_of_other_numbers():
    """Ours is not among them."""
    sensors = CardSensors.open(UUID, Driver(pids=(40, 7, 12)))

    assert (7, 40) == sensors.other_processes(own_pid=12)


def test_processes_that_can_not_be_listed_are_unknown():
    """Unknown is not none: also where pynvml wraps the error in one that is no NVMLError."""
    name = "nvmlDeviceGetComputeRunningProcesses"
    for error in (pynvml.NVMLError_NoPermission, pynvml.NVMLLibraryMismatchError):
        assert None is CardSensors.open(UUID, Driver(lacks={name: error})).other_processes(1)


def test_a_card_is_shared_where_a_process_or_memory_shows():
    """A display holds memory and is no compute process."""
    alone, crowded = CardSensors.open(UUID, Driver()), CardSensors.open(UUID, Driver(pids=(7,)))
    with_display = CardSensors.open(UUID, Driver(idle_bytes=500 << 20))

    assert not alone.used_by_others(own_pid=12)
    assert crowded.used_by_others(own_pid=12)
    assert with_display.used_by_others(own_pid=12)


def test_clocks_are_the_least_and_the_most():
    """Over all samples."""
    readings = watched(Driver(mhz=[1980, 1200, 1500]))

    assert (1200, 1980) == (readings.sm_mhz_min, readings.sm_mhz_max)


def test_throttling_has_nvmls_names():
    """All that was seen once; idle and clocks that a user set hold nothing back; a new bit is not lost."""
    readings = watched(Driver(bits=[0x1 | 0x2, 0x4, 0x40 | 0x1000]))

    assert ("HwThermalSlowdown", "SwPowerCap", "Unknown0x1000") == readings.throttle_reasons
    assert () == watched(Driver(bits=[0x3])).throttle_reasons


def test_throttling_is_told_by_drivers_that_know_its_older_name():
    """Event reasons were called throttle reasons."""
    driver = Driver(
        bits=[0x4],
        lacks={"nvmlDeviceGetCurrentClocksEventReasons": pynvml.NVMLError_FunctionNotFound},
    )

    assert ("SwPowerCap",) == watched(driver).throttle_reasons


def test_the_names_are_those_of_nvml():
    """Every reason that pynvml knows and that throttles has its name here."""
    known = {
        value: name.removeprefix("nvmlClocksThrottleReason")
        for name, value in vars(pynvml).items()
        if name.startswith("nvmlClocksThrottleReason") and value.bit_count() == 1 and value > 0x2
    }

    assert len(known) >= 7
    for bit, name in known.items():
        assert (name,) == watched(Driver(bits=[bit])).throttle_reasons


def test_energy_is_the_difference_of_the_counter():
    """12.5 J between the first sample and the last."""
    readings = watched(Driver(millijoules=[1_000_000, 1_004_000, 1_012_500]))

    assert 12.5 == pytest.approx(readings.energy_joules)


def test_without_a_counter_energy_is_the_integral_of_power():
    """300 W over the time of the watch."""
    driver = Driver(lacks={"nvmlDeviceGetTotalEnergyConsumption": pynvml.NVMLError_NotSupported})
    began = time.perf_counter()
    with CardSensors.open(UUID, driver).watch(interval_seconds=0.01) as watch:
        time.sleep(0.1)
    seconds = time.perf_counter() - began

    assert 300 * 0.1 <= watch.readings().energy_joules <= 300 * seconds


def test_a_counter_that_stands_still_is_not_no_energy():
    """It moves some ten times a second; a shorter watch takes the power."""
    assert watched(Driver(millijoules=[5])).energy_joules > 0


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVMLError_NotSupported,
        pynvml.NVMLError_FunctionNotFound,
        pynvml.NVMLError_NoPermission,
        pynvml.NVMLError_GpuIsLost,
    ],
)
def test_what_a_driver_does_not_tell_is_none(error):
    """A driver without clocks, power and energy: a watch and its readings go on without."""
    names = ("ClockInfo", "CurrentClocksEventReasons", "CurrentClocksThrottleReasons")
    names += ("PowerUsage", "TotalEnergyConsumption", "MemoryInfo")
    sensors = CardSensors.open(UUID, Driver(lacks={f"nvmlDeviceGet{name}": error for name in names}))
    with sensors.watch(interval_seconds=0.01) as watch:
        time.sleep(0.03)

    assert UNTOLD == watch.readings()
    assert (None, None) == to_clocks_and_power(watch.readings())
    assert None is sensors.used_bytes()


def test_a_watch_samples_while_it_waits():
    """About one sample an interval, and none after its end."""
    sensors = CardSensors.open(UUID, Driver())
    with sensors.watch(interval_seconds=0.02) as watch:
        time.sleep(0.2)
    ended = len(watch.sm_mhz)
    time.sleep(0.05)

    assert 4 <= ended <= 12
    assert ended == len(watch.sm_mhz)


def test_a_watch_ends_with_what_it_watched():
    """An error in the block passes, and the thread is gone."""
    sensors = CardSensors.open(UUID, Driver())
    with pytest.raises(MemoryError), sensors.watch(interval_seconds=0.01) as watch:
        raise MemoryError
    ended = len(watch.sm_mhz)
    time.sleep(0.03)

    assert ended == len(watch.sm_mhz)


def test_readings_become_clocks_and_power():
    """As a row holds them."""
    readings = watched(Driver(mhz=[1980, 1700], bits=[0x4], milliwatts=[300_000, 500_000, 400_000]))

    clocks, power = to_clocks_and_power(readings)

    assert Clocks(sm_mhz_min=1700, sm_mhz_max=1980, throttle_reasons=("SwPowerCap",)) == clocks
    assert Power(watts_mean=400.0, watts_max=500.0, energy_joules=readings.energy_joules) == power
