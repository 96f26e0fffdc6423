"""Where the driver puts segments: best fit breaks ties by address, so reserved memory depends on it.

Seen in allocator histories of an H200 (driver 580, Linux, 2026-11-24; `tests/data/`): `cudaMalloc` takes
address space in multiples of 32 MiB, each below the one before, and fills what is left of them upwards. Not
modelled: holes between the driver's own mappings, which the first few small segments go to.
"""

from dataclasses import dataclass, field

from advisor.units import MIB

CHUNK_BYTES = 32 * MIB
_TOP = 1 << 47  # user space ends here; only the order matters


@dataclass(slots=True)
class _Rest:
    """The unused end of a stretch of address space."""

    address: int
    size: int


@dataclass(slots=True)
class DriverAddresses:
    """Hands out addresses as the driver does. What was given back is not handed out again."""

    _lowest: int = _TOP
    _rests: list[_Rest] = field(default_factory=list)

    def place(self, size_bytes: int) -> int:
        """The address of a new segment."""
        rest = next((r for r in self._rests if r.size >= size_bytes), None)
        if rest is None:
            whole = -(-size_bytes // CHUNK_BYTES) * CHUNK_BYTES
            self._lowest -= whole
            rest = _Rest(self._lowest, whole)
            if whole > size_bytes:
                self._rests.append(rest)
        address = rest.address
        rest.address += size_bytes
        rest.size -= size_bytes
        return address
