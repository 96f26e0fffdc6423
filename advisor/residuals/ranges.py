"""From residuals to ranges of bytes: one place for estimates, plans and the scores of both."""

from advisor.records import ByteInterval, GpuSpec
from advisor.residuals.facts import Facts
from advisor.residuals.table import Table


def byte_range(  # noqa: PLR0913 - what a range depends on
    table: Table, facts: Facts, figure: str, value_bytes: int, unit_bytes: int, *, unseen: str = ""
) -> ByteInterval:
    """The figure with the range that holds 90 % of real outcomes; `unit_bytes`: what its residuals are counted in."""
    spread, floor = table.spread(facts, figure, unseen=unseen), table.floor_bytes(figure)
    return ByteInterval(
        value=value_bytes,
        low=max(0, value_bytes + int(spread.below * unit_bytes) - floor),
        high=value_bytes + round(spread.above * unit_bytes) + floor,
    )


def margin_bytes(  # noqa: PLR0913 - as above
    table: Table, facts: Facts, figure: str, unit_bytes: int, risk: float, *, unseen: str = ""
) -> int:
    """What comes on top of the figure so that more is needed with no more than that risk."""
    above = table.spread(facts, figure, risk, unseen=unseen).above
    return round(above * unit_bytes) + table.floor_bytes(figure)


def on_device(reserved: ByteInterval, gpu: GpuSpec) -> ByteInterval:
    """NVML counts as used also what the driver keeps of the board, which torch does not see."""
    beside, doubt = gpu.context_bytes + gpu.driver_bytes, gpu.context_uncertainty_bytes
    return ByteInterval(
        value=reserved.value + beside,
        low=reserved.low + beside - doubt,
        high=reserved.high + beside + doubt,
    )


def with_managed(device: ByteInterval, managed_bytes: int, gpu: GpuSpec) -> ByteInterval:
    """What a paged optimizer keeps is on the card, too, as far as there is room; the driver moves the rest to the host."""
    room_bytes = max(gpu.board_bytes, gpu.memory_bytes)

    def held(bytes_beside: int) -> int:
        return max(bytes_beside, min(bytes_beside + managed_bytes, room_bytes))

    return ByteInterval(value=held(device.value), low=held(device.low), high=held(device.high))
