"""How a tape lies on the disk: small, quick to read without numpy or torch, and trusted in nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from advisor.errors import AdvisorError, ExitCode
from advisor.files import replace_bytes
from advisor.tape.events import NO_PART, Event, Op
from advisor.tape.packed import NewerSchemaError, pack, unpack
from advisor.tape.record import TILES, TRACED_TILES, Factor, Kernel, Label, Size, Tape

SCHEMA = 3  # 1: gzipped JSON; 2: packed, with parts for layers, periods of layers and tiles; 3: saves and evaluates at the end
MAGIC = b"advtape"

_COUNTS = ("layers", "traced_layers", "period", "template", "parameters", "trainable")
_KEPT = ("kept_layers", "kept_template")  # only where some layers are checkpointed and others not
_USUAL = len(Factor._fields) - 2  # what Liger's tapes alone have comes behind
_MOST_LAYERS = 1 << 10
_MOST_EVENTS = 1 << 24
_LARGEST = 1 << 62  # above any count of bytes, operations or weights

Kind = TypeVar("Kind")
_Row = tuple[int, int, int, int]  # an event without its slot: op, what it says, part, label


def save_tape(tape: Tape, path: Path) -> None:
    """Write the tape beside its place and rename it, so that no reader meets half a tape.

    Raises: AdvisorError where it can't be written.
    """
    replace_bytes(path, tape_to_bytes(tape))


def load_tape(path: Path) -> Tape:
    """Read a tape.

    Raises: AdvisorError where the file is not a tape of this schema.
    """
    try:
        return tape_from_bytes(path.read_bytes())
    except NewerSchemaError as error:
        raise _unreadable(path, error, "upgrade this program") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, "delete it; it is made again when it is needed") from error


def _unreadable(path: Path, error: Exception, fix: str) -> AdvisorError:
    what = f"{path} is not a readable tape."
    return AdvisorError(what, why=str(error), fix=fix, exit_code=ExitCode.ENVIRONMENT)


def tape_to_bytes(tape: Tape) -> bytes:
    """The tape as it lies on the disk.

    Events are numbers into a table of the distinct ones, in which none has a slot: an allocation takes the
    next slot, a free says how far from the top its slot lies among those alive. What repeats is thus written
    the same, and packs well.
    """
    table: dict[_Row, int] = {}
    numbers = [table.setdefault(row, len(table)) for row in _without_slots(tape.events)]
    header = {
        "key": tape.key,
        "versions": tape.versions,
        **{name: getattr(tape, name) for name in _COUNTS},
        "tiled": tape.tiled,
        **({"liger_tiles": tape.liger_tiles} if tape.liger_tiles else {}),
        **{name: getattr(tape, name) for name in _KEPT if tape.kept_layers},
        **({"managed": _size_to_json(tape.managed)} if tape.managed != Size(0) else {}),
        "sizes": [_size_to_json(size) for size in tape.sizes],
        "kernels": [
            [k.kind, *([_size_to_json(s) for s in sizes] for sizes in (k.operations, k.moved))]
            for k in tape.kernels
        ],
        "labels": [[label.category, label.module, label.op] for label in tape.labels],
        "phases": list(tape.phases),
        "events": list(zip(*table, strict=True)),
    }
    return pack(MAGIC, SCHEMA, header, numbers)


def tape_from_bytes(data: bytes) -> Tape:
    """The tape behind the bytes of a file.

    Raises: ValueError where they are not a sound tape; NewerSchemaError where a later version wrote them.
    """
    header, numbers = unpack(MAGIC, SCHEMA, data)
    try:
        return _checked(_tape(header, numbers))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"a value is missing or of another kind: {error}") from error


def _tape(header: dict[str, Any], numbers: Sequence[int]) -> Tape:
    return Tape(
        key=_of(dict, header["key"]),
        versions={_of(str, k): _of(str, v) for k, v in header["versions"].items()},
        **{name: _whole(header[name]) for name in _COUNTS},
        **{name: _whole(header[name]) for name in _KEPT if name in header},
        tiled=_of(bool, header["tiled"]),
        liger_tiles=_whole(header.get("liger_tiles", 0)),
        managed=_size(*header.get("managed", _size_to_json(Size(0)))),
        sizes=_sizes(header["sizes"]),
        kernels=tuple(Kernel(_of(str, k), _sizes(ops), _sizes(moved)) for k, ops, moved in header["kernels"]),
        labels=tuple(Label(*(_of(str, word) for word in label)) for label in header["labels"]),
        phases=tuple(_of(str, phase) for phase in header["phases"]),
        events=_with_slots(_rows(header), numbers),
    )


def _without_slots(events: Sequence[Event]) -> Iterator[_Row]:
    alive: list[int] = []
    for op, a, b, part, label in events:
        if op == Op.ALLOC:
            alive.append(a)
            yield op, b, part, label
        elif op == Op.FREE:
            depth = len(alive) - alive.index(a)
            del alive[-depth]
            yield op, depth, part, 0
        else:
            yield op, a, part, 0


def _with_slots(rows: list[_Row], numbers: Sequence[int]) -> tuple[Event, ...]:
    events: list[Event] = []
    alive: list[int] = []
    slots = 0
    as_they_are = [Event(op, a, 0, part, 0) for op, a, part, _ in rows]  # right for a phase or a kernel
    for number in numbers:
        op, a, part, label = rows[number]
        if op == Op.ALLOC:
            events.append(Event(op, slots, a, part, label))
            alive.append(slots)
            slots += 1
        elif op == Op.FREE:
            events.append(Event(op, alive.pop(-a), 0, part, 0))
        else:
            events.append(as_they_are[number])
    return tuple(events)


def _rows(header: dict[str, Any]) -> list[_Row]:
    """The distinct events, each within the tables that it points into."""
    limits = {
        Op.ALLOC: (0, len(header["sizes"])),
        Op.FREE: (1, _LARGEST),
        Op.PHASE: (0, len(header["phases"])),
        Op.KERNEL: (0, len(header["kernels"])),
    }
    labels = len(header["labels"])
    rows: list[_Row] = []
    for row in zip(*header["events"], strict=True):
        op, a, part, label = map(_whole, row)
        low, high = limits[Op(op)]
        label_is_there = 0 <= label < labels or (label == 0 and op != Op.ALLOC)
        if not (low <= a < high and NO_PART <= part < TILES + TRACED_TILES and label_is_there):
            raise ValueError(f"an event points nowhere: {row}")
        rows.append((op, a, part, label))
    return rows


def _checked(tape: Tape) -> Tape:
    layers_agree = 0 < tape.traced_layers <= tape.layers <= _MOST_LAYERS and tape.period > 0
    kept_agree = (
        0 <= tape.kept_layers <= tape.traced_layers and min(tape.template, tape.kept_template) >= NO_PART
    )
    if tape.liger_tiles < 0:
        raise ValueError("its loss is cut into less than one tile")
    if not (layers_agree and kept_agree) or (tape.layers - tape.traced_layers) % tape.period:
        raise ValueError("its layers do not agree")
    repeated = sum(event.part in tape.copies for event in tape.events)
    if repeated * tape.further_layers > _MOST_EVENTS:
        raise ValueError("it repeats more than any model does")
    return tape


def _size_to_json(size: Size) -> list[Any]:
    factors = [factor if any(factor[_USUAL:]) else factor[:_USUAL] for factor in size.factors]
    return [size.scale, factors, size.per_layer, size.constant]


def _sizes(values: list[Any]) -> tuple[Size, ...]:
    return tuple(_size(*value) for value in values)


def _size(scale: int, factors: list[Any], per_layer: int, constant: str) -> Size:
    made = tuple(Factor(*map(_whole, factor)) for factor in factors)
    if any(factor.multiple < 1 or min(factor.tile, factor.liger_tiles) < 0 for factor in made):
        raise ValueError("a size is rounded to nothing")
    return Size(_whole(scale), made, _whole(per_layer), _of(str, constant))


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) >= _LARGEST:
        raise ValueError(f"{value!r} is no whole number, or one too large")
    return value


def _of(kind: type[Kind], value: Any) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
