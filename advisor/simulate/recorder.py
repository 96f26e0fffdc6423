"""Writes down what the step does to the simulated card: every storage's life, every kernel."""

import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from advisor.simulate import answers, bitsandbytes_cuda, kernels
from advisor.simulate.device import NAME
from advisor.simulate.sizes import Symbols
from advisor.simulate.target import Target
from advisor.step.observe import Phase
from advisor.tape import NO_LAYER, Event, Kernel, Label, Op, Size

Item = TypeVar("Item")


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """The dispatch mode that is the simulated card; also the observer of the step's phases.

    Tensors on the CPU stay real; tensors on the device are FakeTensors. `layer` says which decoder
    layer the step is in: `simulate/regions.py` keeps it.
    """

    def __init__(self, target: Target, symbols: Symbols, vocab: int) -> None:
        super().__init__()
        self.fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.target = target
        self.symbols = symbols
        self.vocab = vocab
        self.layer = NO_LAYER
        self._last_layer = NO_LAYER
        self._last_input = NO_LAYER
        self.phase = ""
        self.events: list[Event] = []
        self.sizes = Table[Size]()
        self.kernels = Table[Kernel]()
        self.labels = Table[Label]()
        self.phases = Table[str]()
        self.slots: dict[int, int] = {}  # storage to slot, while it lives
        self.slot_layer: dict[int, int] = {}
        self.slot_event: dict[int, int] = {}
        self._references: dict[int, weakref.ref[Any]] = {}
        self.in_quantised_kernel = False
        self._next_slot = 0
        self._handles: set[str] = set()

    # The observer's side.

    def mark(self, phase: Phase) -> None:
        """A phase begins."""
        self.layer = NO_LAYER
        self.phase = phase.value
        self.events.append(Event(Op.PHASE, self.phases.index(phase.value), 0, NO_LAYER, 0))

    def weight(self, name: str) -> None:
        """The loader turns to the weight of that name."""
        self.layer = layer_of_name(name)

    # The card's side.

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        if not self._concerns(inputs, kwargs):
            return func(*args, **kwargs)
        name = func.name()
        if name.startswith("bitsandbytes::"):
            with self, self._quantised_kernel():
                return bitsandbytes_cuda.cuda_kernels(self.target)[name](*args, **kwargs)
        answered, value = answers.answer(self, name, args)
        if answered:
            return value
        if _is_composite(func):
            with self:  # its parts are what the card runs
                return func.decompose(*args, **kwargs)
        self._handle(name)
        with self.fake_mode:
            output = func(*args, **kwargs)
        outputs = [o for o in tree_leaves(output) if isinstance(o, torch.Tensor)]
        for index, tensor in enumerate(outputs):
            layer = self._layer_for(index, len(outputs), args, inputs)
            self.allocate(tensor, name, layer, self._share(name, layer, inputs))
        self._inside(name, args, outputs)
        self._kernel(name, func, args, inputs, outputs)
        return output

    @staticmethod
    def _concerns(inputs: list[torch.Tensor], kwargs: dict[str, Any]) -> bool:
        if any(isinstance(t, FakeTensor) for t in inputs):
            return True
        device = kwargs.get("device")
        return device is not None and torch.device(device).type == NAME

    def allocate(self, tensor: torch.Tensor, op: str, layer: int, share: int = 0) -> None:
        """Write down the tensor's storage, if the card has not seen it yet.

        `share`: how many of its elements one decoder layer brings, where it joins something of each.
        """
        if tensor.device.type != NAME:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.slots or storage.nbytes() == 0:
            return
        size = self.symbols.storage(tensor.shape, tensor.element_size(), storage.nbytes())
        if share:
            size = replace(size, per_layer=share * tensor.element_size())
        label = Label(self._category(tensor), "", op)
        slot = self._allocated(size, label, layer)
        self.slots[key] = slot
        self._references[key] = weakref.ref(storage, lambda _: self._died(key))

    def transient(self, size: Size, op: str) -> None:
        """A buffer that a kernel makes and drops inside itself."""
        slot = self._allocated(size, Label("workspace", "", op), self.layer)
        self.events.append(Event(Op.FREE, slot, 0, self.layer, 0))

    def keep(self, size: Size, op: str) -> None:
        """A buffer that lives until the process ends."""
        self._allocated(size, Label("workspace", "", op), NO_LAYER)

    def warm_up(self, total_bytes: int, per_layer_bytes: int) -> None:
        """The loader's one allocation of everything, dropped at once; it stays in the cache."""
        size = Size(total_bytes, per_layer=per_layer_bytes, constant="loader_warmup")
        self.transient(size, "loader warm-up")

    def product(self, into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        """A matrix product into memory that is already there."""
        self._handle("aten::addmm")
        operations = self.symbols.size((*into.shape, left.shape[-1]), 2)
        moved = [self.symbols.size(t.shape, t.element_size()) for t in (into, left, right, into)]
        kernel = Kernel("matmul", (operations,), tuple(moved))
        self.events.append(Event(Op.KERNEL, self.kernels.index(kernel), 0, self.layer, 0))

    def _allocated(self, size: Size, label: Label, layer: int) -> int:
        slot = self._next_slot
        self._next_slot += 1
        self.slot_layer[slot] = layer
        self.slot_event[slot] = len(self.events)
        self.events.append(
            Event(Op.ALLOC, slot, self.sizes.index(size), layer, self.labels.index(label))
        )
        return slot

    def _died(self, key: int) -> None:
        slot = self.slots.pop(key, None)
        self._references.pop(key, None)
        if slot is None:
            return
        self.events.append(Event(Op.FREE, slot, 0, self._layer_of_death(slot), 0))

    def _layer_of_death(self, slot: int) -> int:
        if self.layer != NO_LAYER:
            return self.layer
        # A layer's input outlives it by one assignment: `hidden = layer(hidden)`.
        return self._last_layer if slot == self._last_input else self.slot_layer[slot]

    def enter(self, layer: int, hidden: torch.Tensor | None = None) -> None:
        """The step enters a decoder layer, and stays there until the next one begins."""
        self.layer = self._last_layer = layer
        if hidden is not None:
            self._last_input = self.slots.get(hidden.untyped_storage()._cdata, NO_LAYER)

    def leave_layers(self) -> None:
        """The last decoder layer is done."""
        self.layer = NO_LAYER

    def relabel(self, tensor: torch.Tensor, category: str, module: str) -> None:
        """Say what a live storage is, now that it is known."""
        slot = self.slots.get(tensor.untyped_storage()._cdata)
        if slot is None:
            return
        layer = layer_of_name(module)
        index = self.slot_event[slot]
        event = self.events[index]
        label = Label(category, module, self.labels.items[event.label].op)
        self.slot_layer[slot] = layer
        self.events[index] = event._replace(layer=layer, label=self.labels.index(label))

    def _layer_for(
        self, index: int, count: int, args: tuple[Any, ...], inputs: list[torch.Tensor]
    ) -> int:
        """The layer an output belongs to: where the step is, else where its inputs belong."""
        if self.layer != NO_LAYER or self.phase in (Phase.FORWARD, Phase.BACKWARD):
            return self.layer
        first = args[0] if args else None
        if isinstance(first, list | tuple) and len(first) == count and count > 1:
            inputs = [first[index]]
        layers = {self._layer_of(t) for t in inputs}
        return layers.pop() if len(layers) == 1 else NO_LAYER

    def _share(self, name: str, layer: int, inputs: list[torch.Tensor]) -> int:
        if name not in ("aten::stack", "aten::cat") or layer != NO_LAYER:
            return 0
        return sum(t.numel() for t in inputs if self._layer_of(t) == 0)

    def _layer_of(self, tensor: torch.Tensor) -> int:
        slot = self.slots.get(tensor.untyped_storage()._cdata)
        return NO_LAYER if slot is None else self.slot_layer[slot]

    def _category(self, tensor: torch.Tensor) -> str:
        if self.phase == Phase.OPTIMIZER:
            return "optimizer state"
        if self.vocab in tensor.shape and self.phase in (Phase.FORWARD, Phase.BACKWARD):
            return "logits/loss"
        return "activation"

    def _handle(self, name: str) -> None:
        """The first product in a thread makes its cuBLAS handle, with a workspace that stays."""
        thread = "backward" if self.phase == Phase.BACKWARD else "forward"
        if thread not in self._handles and kernels.uses_cublas(name):
            self._handles.add(thread)
            self.keep(Size(1, constant="cublas_workspace"), "cublas handle")

    def _inside(self, name: str, args: tuple[Any, ...], outputs: list[torch.Tensor]) -> None:
        buffers = kernels.inside(name, args, outputs, self.symbols)
        slots = [self._allocated(b, Label("workspace", "", name), self.layer) for b in buffers]
        for slot in slots:
            self.events.append(Event(Op.FREE, slot, 0, self.layer, 0))

    def _kernel(
        self,
        name: str,
        func: Any,
        args: tuple[Any, ...],
        inputs: list[torch.Tensor],
        outputs: list[torch.Tensor],
    ) -> None:
        kernel = kernels.cost(name, func, args, inputs, outputs, self.symbols)
        if kernel is not None:
            layer = self._layer_for(0, 1, args, inputs)
            self.events.append(Event(Op.KERNEL, self.kernels.index(kernel), 0, layer, 0))

    def settled(self) -> tuple[Event, ...]:
        """The events, with each kernel of no known layer in the layer of the buffer it just filled."""
        events: list[Event] = []
        for event in self.events:
            if event.op == Op.KERNEL and event.layer == NO_LAYER and events[-1].op == Op.ALLOC:
                event = event._replace(layer=events[-1].layer)  # noqa: PLW2901
            events.append(event)
        return tuple(events)

    @contextmanager
    def _quantised_kernel(self) -> Iterator[None]:
        before, self.in_quantised_kernel = self.in_quantised_kernel, True
        try:
            yield
        finally:
            self.in_quantised_kernel = before

    @contextmanager
    def within(self, layer: int) -> Iterator[None]:
        """Everything inside belongs to that layer."""
        before, self.layer = self.layer, layer
        try:
            yield
        finally:
            self.layer = before


class Table(Generic[Item]):
    """Distinct items by index, in the order they first came."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._index: dict[Item, int] = {}

    def index(self, item: Item) -> int:
        """The item's number."""
        if item not in self._index:
            self._index[item] = len(self.items)
            self.items.append(item)
        return self._index[item]


@functools.cache
def _is_composite(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return func.namespace == "aten" and bool(func.has_kernel_for_dispatch_key(key))


def layer_of_name(name: str) -> int:
    """The decoder layer that a weight's or module's name says, such as 3 for `model.layers.3.mlp`."""
    parts = name.split(".")
    for before, part in zip(parts, parts[1:], strict=False):
        if before in ("layers", "h", "blocks") and part.isdigit():
            return int(part)
    return NO_LAYER
