"""The tape: what one run of the step allocates, frees and computes, for every batch and length of its regime.

A tape is recorded once, on a model cut to a few layers, and holds sizes as exact integer expressions in
micro-batch and sequence length. `unroll` gives the events of the whole model at one shape.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from advisor.errors import AdvisorError, ExitCode

SCHEMA = 1  # 1: first

NO_LAYER = -1


class Op(IntEnum):
    """What an event does; `Event.a` and `Event.b` mean what the comment says."""

    ALLOC = 0  # a: slot, b: index into sizes
    FREE = 1  # a: slot
    PHASE = 2  # a: index into phases
    KERNEL = 3  # a: index into kernels


class Event(NamedTuple):
    """One thing that happened, and the layer that it belongs to."""

    op: int
    a: int
    b: int
    layer: int  # NO_LAYER where it belongs to none
    label: int  # index into labels; of an ALLOC


class Factor(NamedTuple):
    """`constant + batch*B + sequence*S + tokens*B*S`, rounded up to a multiple."""

    constant: int
    batch: int
    sequence: int
    tokens: int
    multiple: int

    def at(self, micro_batch: int, sequence_length: int) -> int:
        """The factor's value at one shape."""
        value = (
            self.constant
            + self.batch * micro_batch
            + self.sequence * sequence_length
            + self.tokens * micro_batch * sequence_length
        )
        return -(-value // self.multiple) * self.multiple


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes (or operations) as `scale` times a product of factors, plus a share for each further layer."""

    scale: int
    factors: tuple[Factor, ...] = ()
    per_layer: int = 0  # added for each layer beyond the traced ones
    constant: str = ""  # the name of a size that the card decides, such as cublas_workspace

    def at(self, micro_batch: int, sequence_length: int, further_layers: int) -> int:
        """The value at one shape, for a model of `further_layers` more than were traced."""
        value = self.scale
        for factor in self.factors:
            value *= factor.at(micro_batch, sequence_length)
        return value + self.per_layer * further_layers


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch: its kind, the operations it does and the bytes it moves (sums of products)."""

    kind: str
    operations: tuple[Size, ...]
    moved: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """What an allocation is: category, the module that made it, the op."""

    category: str
    module: str
    op: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """One recorded step; see the module's docstring."""

    key: dict[str, Any]  # what it was recorded for
    versions: dict[str, str]  # of the packages that ran
    layers: int  # of the whole model
    traced_layers: int
    template: int  # the layer that is repeated; NO_LAYER where all were traced
    parameters: int  # of the whole model
    trainable: int
    sizes: tuple[Size, ...]
    kernels: tuple[Kernel, ...]
    labels: tuple[Label, ...]
    phases: tuple[str, ...]
    events: tuple[Event, ...] = field(repr=False)

    @property
    def further_layers(self) -> int:
        """Layers of the model that were not traced but repeat the template."""
        return self.layers - self.traced_layers


def unroll(tape: Tape) -> list[Event]:
    """The events of the whole model: the template layer's repeated for each layer not traced.

    In a forward sweep the copies follow the template, in a backward sweep they precede it. A slot that a
    neighbour layer hands over (the residual stream, its gradient) is handed from copy to copy.
    """
    if tape.template == NO_LAYER or tape.further_layers == 0:
        return list(tape.events)
    return list(_Unroller(tape).events())


class _Unroller:
    """Renames slots while it repeats; slots of copy `m` of the template are `slot + m * stride`."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.template = tape.template
        self.copies = tape.further_layers  # beyond the traced template itself
        self.owner = {e.a: e.layer for e in tape.events if e.op == Op.ALLOC}
        self.stride = max(self.owner, default=0) + 1
        self.twin = self._twins()

    def _twins(self) -> dict[int, int]:
        """A neighbour's slot to the template's slot that plays the same part."""
        order: dict[int, list[int]] = {}
        for event in self.tape.events:
            if event.op == Op.ALLOC:
                order.setdefault(event.layer, []).append(event.a)
        mine = order.get(self.template, [])
        twins: dict[int, int] = {}
        for neighbour in (self.template - 1, self.template + 1):
            theirs = order.get(neighbour, [])
            if len(theirs) == len(mine):
                twins |= dict(zip(theirs, mine, strict=True))
        return twins

    def events(self) -> Iterator[Event]:
        recorded = self.tape.events
        start = 0
        before = NO_LAYER  # the last layer other than the template that was seen
        while start < len(recorded):
            if recorded[start].layer != self.template:
                event = recorded[start]
                if event.layer != NO_LAYER:
                    before = event.layer
                yield from self._outside(event)
                start += 1
                continue
            end = start
            while end < len(recorded) and recorded[end].layer == self.template:
                end += 1
            yield from self._repeated(recorded[start:end], descending=before > self.template)
            start = end

    def _outside(self, event: Event) -> Iterator[Event]:
        if event.op == Op.FREE and self.owner[event.a] == self.template:
            if event.layer == self.template - 1:
                yield event
            elif event.layer == self.template + 1:
                yield self._renamed(event, self.copies)
            else:
                yield from (self._renamed(event, copy) for copy in range(self.copies + 1))
        else:
            yield event

    def _repeated(self, run: tuple[Event, ...], *, descending: bool) -> Iterator[Event]:
        copies = range(self.copies + 1)
        for copy in reversed(copies) if descending else copies:
            for event in run:
                yield self._in_copy(event, copy)

    def _in_copy(self, event: Event, copy: int) -> Event:
        if event.op not in (Op.ALLOC, Op.FREE):
            return event
        owner = self.owner[event.a]
        if owner == self.template:
            return self._renamed(event, copy)
        if owner == self.template - 1 and copy > 0:
            return event._replace(a=self.twin[event.a] + (copy - 1) * self.stride)
        if owner == self.template + 1 and copy < self.copies:
            return event._replace(a=self.twin[event.a] + (copy + 1) * self.stride)
        return event

    def _renamed(self, event: Event, copy: int) -> Event:
        return event._replace(a=event.a + copy * self.stride)


def save_tape(tape: Tape, path: Path) -> None:
    """Write the tape beside its place and rename it, so that no reader meets half a tape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tape_to_json(tape), separators=(",", ":"))
    partial = path.with_suffix(f".{id(tape)}.partial")
    partial.write_bytes(gzip.compress(text.encode(), mtime=0))
    partial.replace(path)


def load_tape(path: Path) -> Tape:
    """Read a tape.

    Raises: AdvisorError where the file is not a tape of this schema.
    """
    try:
        return tape_from_json(json.loads(gzip.decompress(path.read_bytes())))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise AdvisorError(
            f"{path} is not a readable tape.",
            why=str(error),
            fix="delete it; it is made again when it is needed",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error


def tape_to_json(tape: Tape) -> dict[str, Any]:
    """Plain values; `tape_from_json` reads them back."""
    return {
        "schema": SCHEMA,
        "key": tape.key,
        "versions": tape.versions,
        "layers": tape.layers,
        "traced_layers": tape.traced_layers,
        "template": tape.template,
        "parameters": tape.parameters,
        "trainable": tape.trainable,
        "sizes": [_size_to_json(s) for s in tape.sizes],
        "kernels": [
            [k.kind, [_size_to_json(s) for s in k.operations], [_size_to_json(s) for s in k.moved]]
            for k in tape.kernels
        ],
        "labels": [[label.category, label.module, label.op] for label in tape.labels],
        "phases": list(tape.phases),
        "events": [value for event in tape.events for value in event],
    }


def tape_from_json(document: dict[str, Any]) -> Tape:
    """The tape behind plain values.

    Raises: ValueError where the schema is another; KeyError or TypeError where values are missing.
    """
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']}, this version reads {SCHEMA}")
    flat = iter(document["events"])
    return Tape(
        key=document["key"],
        versions=document["versions"],
        layers=document["layers"],
        traced_layers=document["traced_layers"],
        template=document["template"],
        parameters=document["parameters"],
        trainable=document["trainable"],
        sizes=tuple(_size_from_json(s) for s in document["sizes"]),
        kernels=tuple(
            Kernel(kind, tuple(map(_size_from_json, ops)), tuple(map(_size_from_json, moved)))
            for kind, ops, moved in document["kernels"]
        ),
        labels=tuple(Label(*label) for label in document["labels"]),
        phases=tuple(document["phases"]),
        events=tuple(map(Event, flat, flat, flat, flat, flat)),
    )


def _size_to_json(size: Size) -> list[Any]:
    return [size.scale, [list(f) for f in size.factors], size.per_layer, size.constant]


def _size_from_json(value: list[Any]) -> Size:
    scale, factors, per_layer, constant = value
    return Size(scale, tuple(Factor(*f) for f in factors), per_layer, constant)
