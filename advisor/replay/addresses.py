"""Where the driver puts segments: best fit breaks ties by address, so reserved memory depends on it.

Seen in the allocator histories of `driver.toml`: `cudaMalloc` takes address space in stretches, multiples of 32 MiB, each
below the one before, and fills what is left of them upwards, the newest first. Not modelled: gaps between other
mappings of the process, above the first segment, which stretches of 32 MiB may go to.
"""

from dataclasses import dataclass, field

from advisor.replay.driver import CONTEXT, Driver
from advisor.units import MIB

CHUNK_BYTES = 32 * MIB
_TOP = 1 << 47  # user space ends here; only the order matters


@dataclass(slots=True)
class _Rest:
    """The unused end of a stretch of address space."""

    address: int
    size: int

    def take(self, size_bytes: int) -> int:
        """The address of its first bytes, which are used from now on."""
        address = self.address
        self.address += size_bytes
        self.size -= size_bytes
        return address


@dataclass(slots=True)
class _Own:
    """A mapping of the driver that it will give back, with a stretch to itself."""

    address: int
    size: int
    rest: _Rest
    rest_bytes: int  # of the stretch, before anything else was put there


@dataclass(slots=True)
class DriverAddresses:
    """Hands out addresses as the driver does. What torch gave back is not handed out again."""

    driver: Driver = field(default_factory=Driver)
    _lowest: int = _TOP
    _rests: list[_Rest] = field(default_factory=list)  # oldest first
    _own: dict[str, _Own] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The context is there before the first segment."""
        self.reach(CONTEXT)

    def place(self, size_bytes: int) -> int:
        """The address of a new segment."""
        rest = next((rest for rest in reversed(self._rests) if rest.size >= size_bytes), None)
        return (rest or self._stretch(size_bytes)).take(size_bytes)

    def reach(self, moment: str) -> None:
        """Map and give back what the driver does at that moment."""
        for each in self.driver.at(moment):
            if each.returns:
                self._give_back(each.returns)
            elif each.name:
                rest = self._stretch(each.size_bytes)
                address = rest.take(each.size_bytes)
                self._own[each.name] = _Own(address, each.size_bytes, rest, rest.size)
            else:
                self.place(each.size_bytes)

    def _stretch(self, size_bytes: int) -> _Rest:
        """A new one below all others, for at least so many bytes."""
        whole = -(-size_bytes // CHUNK_BYTES) * CHUNK_BYTES
        self._lowest -= whole
        rest = _Rest(self._lowest, whole)
        self._rests.append(rest)
        return rest

    def _give_back(self, name: str) -> None:
        """Where a segment lies in the stretch beside it, the room can be used again; else all is unmapped."""
        own = self._own.pop(name)
        if own.rest.size == own.rest_bytes:
            self._rests = [rest for rest in self._rests if rest is not own.rest]
        else:
            own.rest.address, own.rest.size = own.address, own.size
