"""The book of a trace: every storage's life on the simulated card, and every kernel, in order."""

import weakref
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from advisor.tape.events import NO_PART, Event, Op
from advisor.tape.record import Kernel, Label, Size

Item = TypeVar("Item")


class Table(Generic[Item]):
    """Distinct items by index, in the order they first came."""

    def __init__(self) -> None:
        """Empty."""
        self.items: list[Item] = []
        self._index: dict[Item, int] = {}

    def index(self, item: Item) -> int:
        """The item's number."""
        number = self._index.get(item)
        if number is None:
            number = self._index[item] = len(self.items)
            self.items.append(item)
        return number


class _Life(weakref.ref[Any]):
    """A storage that lives, and the slot it was given; tells the ledger when it dies."""

    __slots__ = ("key", "slot")
    key: int
    slot: int


class Group(NamedTuple):
    """Storages that an op works on together, such as a weight, its gradient and its states."""

    slots: tuple[int, ...]
    moved_bytes: int


class Ledger:
    """Events as they come. `part` says which part of the model the step is in: `regions.py` keeps it.

    Where the step is in no part, `groups` remembers what each event came of: `settle.py` makes a part of it
    once every storage's part is known.
    """

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.part = NO_PART
        self._last_part = NO_PART
        self._last_input = NO_PART
        self.events: list[Event] = []
        self.groups: dict[int, tuple[Group, ...]] = {}  # by the index of the event
        self.breaks: set[int] = set()  # indexes of events before which the step left all parts
        self.sizes = Table[Size]()
        self.kernels = Table[Kernel]()
        self.labels = Table[Label]()
        self.phases = Table[str]()
        self._slot_event: list[int] = []
        self._lives: dict[int, _Life] = {}  # by storage
        self._open = True

    def begin(self, phase: str) -> None:
        """A phase begins, outside of every part."""
        self.leave()
        self.events.append(Event(Op.PHASE, self.phases.index(phase), 0, NO_PART, 0))

    def enter(self, part: int, hidden: torch.Tensor | None = None) -> None:
        """The step enters a part, and stays there until the next one begins."""
        self.part = self._last_part = part
        if hidden is not None:
            slot = self.slot_of(hidden)
            self._last_input = NO_PART if slot is None else slot

    def leave(self) -> None:
        """The last part of a sweep is done."""
        self.part = NO_PART
        self.breaks.add(len(self.events))

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor's storage lives in the book."""
        return tensor.untyped_storage()._cdata in self._lives

    def slot_of(self, tensor: torch.Tensor) -> int | None:
        """The slot of the tensor's storage, if it lives in the book."""
        life = self._lives.get(tensor.untyped_storage()._cdata)
        return None if life is None else life.slot

    def part_of(self, tensor: torch.Tensor) -> int:
        """The part that the tensor's storage belongs to, as far as it is known."""
        slot = self.slot_of(tensor)
        return NO_PART if slot is None else self.events[self._slot_event[slot]].part

    def is_symbolic(self, tensor: torch.Tensor) -> bool:
        """Whether the size of the tensor's storage depends on batch and length."""
        slot = self.slot_of(tensor)
        return slot is not None and bool(self.sizes.items[self.events[self._slot_event[slot]].b].factors)

    def group(self, tensors: Iterable[torch.Tensor]) -> Group:
        """What an op works on together."""
        tensors = tuple(tensors)
        slots = (self.slot_of(t) for t in tensors)
        return Group(tuple(s for s in slots if s is not None), sum(t.nbytes for t in tensors))

    def born(self, tensor: torch.Tensor, size: int, label: int, groups: tuple[Group, ...] = ()) -> None:
        """A tensor, made of what the groups hold, has storage of that size and label (by their index)."""
        storage = tensor.untyped_storage()
        life = _Life(storage, self._died)
        life.key = storage._cdata
        if groups:
            self.groups[len(self.events)] = groups
        life.slot = self.allocated(size, label, self.part)
        self._lives[life.key] = life

    def allocated(self, size: int, label: int, part: int) -> int:
        """A buffer is made; gives its slot."""
        slot = len(self._slot_event)
        self._slot_event.append(len(self.events))
        self.events.append(Event(Op.ALLOC, slot, size, part, label))
        return slot

    def freed(self, slot: int, part: int) -> None:
        """A buffer is dropped."""
        self.events.append(Event(Op.FREE, slot, 0, part, 0))

    def launched(self, kernel: int, groups: tuple[Group, ...] = ()) -> None:
        """A kernel runs on what the groups hold."""
        if groups:
            self.groups[len(self.events)] = groups
        self.events.append(Event(Op.KERNEL, kernel, 0, self.part, 0))

    def _died(self, life: "weakref.ref[Any]") -> None:
        if self._open and isinstance(life, _Life):
            del self._lives[life.key]
            # A layer's input outlives it by one assignment: `hidden = layer(hidden)`.
            late = self.part == NO_PART and life.slot == self._last_input
            self.freed(life.slot, self._last_part if late else self.part)

    def relabel(self, tensor: torch.Tensor, category: str, module: str, part: int) -> None:
        """Say what a live storage is, and whose, now that it is known."""
        self._rewrite(tensor, category, module, part)

    def categorise(self, tensor: torch.Tensor, category: str, module: str = "") -> None:
        """Say what a live storage is, now that it is known; it stays in its part."""
        self._rewrite(tensor, category, module, None)

    def _rewrite(self, tensor: torch.Tensor, category: str, module: str, part: int | None) -> None:
        slot = self.slot_of(tensor)
        if slot is None:
            return
        index = self._slot_event[slot]
        event = self.events[index]
        label = Label(category, module, self.labels.items[event.label].op)
        part = event.part if part is None else part
        self.events[index] = event._replace(part=part, label=self.labels.index(label))

    def close(self) -> None:
        """The book ends here: what dies later belongs to no step."""
        self._open = False
