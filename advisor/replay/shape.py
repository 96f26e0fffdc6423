"""What turns a tape's expressions into bytes."""

from dataclasses import dataclass, field

from advisor.records import Allocator
from advisor.replay.driver import Driver
from advisor.tape.record import Size, Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The batch, and the sizes that the card decides."""

    micro_batch: int
    sequence_length: int
    cublas_workspace_bytes: int
    loader_warmup_limit_bytes: int | None = None  # None: no card, so no limit
    allocator: Allocator = Allocator.DEFAULT
    multiprocessors: int = 0  # asked for by Liger's tapes alone
    driver: Driver = field(default_factory=Driver)  # what it maps for itself


def sizes_bytes(tape: Tape, shape: Shape) -> list[int]:
    """Every size of the tape at that shape."""
    return [_size_bytes(size, tape, shape) for size in tape.sizes]


def _size_bytes(size: Size, tape: Tape, shape: Shape) -> int:
    value = size.at(
        shape.micro_batch, shape.sequence_length, tape.further_layers, multiprocessors=shape.multiprocessors
    )
    if size.constant == "cublas_workspace":
        return value * shape.cublas_workspace_bytes
    limit = shape.loader_warmup_limit_bytes
    if size.constant == "loader_warmup" and limit is not None:
        return max(0, min(value, limit)) // 2 * 2
    return value
