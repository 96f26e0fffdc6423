"""The simulated card: answers every op on it, and has the ledger write down what a real card would do."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from advisor.simulate import answers, bitsandbytes_cuda, kernels, sums
from advisor.simulate.device import NAME
from advisor.simulate.ledger import Group, Ledger
from advisor.simulate.lines import nowhere
from advisor.simulate.parts import TEMPLATE, Parts
from advisor.simulate.recall import Call, Recipe, Tensors, make
from advisor.simulate.sizes import Symbols, constant_size
from advisor.step.observe import Phase
from advisor.tape.events import NO_PART
from advisor.tape.record import Kernel, Label, Size
from advisor.tape.target import Target

_DEVICE = torch.ops.prim.device.default
_PASSES = (Phase.FORWARD, Phase.BACKWARD, Phase.EVALUATE)
_LAYER_NUMBER = re.compile(r"\.\d+\.")

Together = list[tuple[torch.Tensor, ...]]


@dataclass(frozen=True, slots=True)
class _Known:
    """Everything about a call that calls like it share; sizes, labels and kernels by their numbers."""

    recipe: Recipe | None
    fresh: tuple[tuple[int, int], ...]  # size and label of each output that takes memory
    inside: tuple[tuple[int, int], ...]  # size and label of each buffer inside the kernel
    kernel: int | None
    multiplies: bool
    lt_workspace_bytes: int


class Recorder(TorchDispatchMode):
    """The dispatch mode that is the simulated card; also the observer of the step's phases.

    Tensors on the CPU stay real; tensors on the device are FakeTensors.
    """

    def __init__(
        self, target: Target, symbols: Symbols, vocab: int, parts: Parts, place: Callable[[], str] = nowhere
    ) -> None:
        """A card that has not been used; `place` says where in the code an allocation is asked for."""
        super().__init__()  # type: ignore[no-untyped-call]
        sums.unshared_holders()  # before this mode watches, too
        self.fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.target = target
        self.symbols = symbols
        self.vocab = vocab
        self.parts = parts
        self.place = place
        self.ledger = Ledger()
        self.phase = ""
        self.managed = Size(0)  # what a paged optimizer keeps beside the allocator
        self.dimensions: set[int] = set()  # of what is there before the first pass: the model's own
        self.in_quantised_kernel = False
        self._known: dict[tuple[Any, ...], _Known] = {}
        self._handles: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard against it costs as much as the rest

    # The observer's side.

    def mark(self, phase: Phase) -> None:
        """A phase begins."""
        self.phase = phase.value
        self.ledger.begin(phase.value)

    def weight(self, name: str) -> None:
        """The loader turns to the weight of that name."""
        self.ledger.part = self.parts.of_name(name)

    def step_ended(self) -> None:
        """The tape tells phases apart, not steps."""

    # The card's side.

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What the op gives on the card, and on the CPU where it has nothing to do with the card."""
        if func is _DEVICE:  # torch's own C++ asks this more often than all else
            return args[0].device
        in_place = sums.is_in_place(func, args)
        call = Call(func, args, kwargs or {})
        if not _concerns(call):
            return call.run()
        if in_place:
            return self._added(call)
        symbolic = self._symbolic(call)
        key = call.key_in(self.phase, symbolic, self.in_quantised_kernel, self.place())
        known = self._known.get(key) if key else None
        if known is None or known.recipe is None:
            return self._first(call, key, symbolic=symbolic)
        result, fresh = known.recipe.follow(call.tensors, self.fake_mode)
        self._write(known, call, fresh, fresh)
        return result

    def _first(self, call: Call, key: tuple[Any, ...] | None, *, symbolic: bool) -> Any:
        """The result of a call that none like it came before, or that can't be told from others."""
        name = call.func.name()
        if name.startswith("bitsandbytes::"):
            return self._quantised(name, call)
        answered, value = answers.answer(self, name, call.args)
        if answered:
            return value
        if _is_composite(call.func):
            with self:  # its parts are what the card runs
                return call.func.decompose(*call.args, **call.kwargs)
        result, recipe = make(call, self.fake_mode)
        outputs = _tensors(result)
        fresh = [o for o in outputs if self._is_fresh(o)]
        known = self._describe(call, outputs, fresh, symbolic=symbolic)
        if key:
            self._known[key] = replace(known, recipe=recipe)
        self._write(known, call, outputs, fresh)
        return result

    def _added(self, call: Call) -> torch.Tensor:
        """The sum of two gradients, in the memory of the first."""
        sum_: torch.Tensor = call.args[0]
        self._launch(kernels.cost(call.func, call.args, [*call.tensors, sum_], [sum_], self.symbols.size))
        return sum_

    def _launch(self, kernel: Kernel | None, groups: tuple[Group, ...] = ()) -> None:
        if kernel is not None:
            self.ledger.launched(self.ledger.kernels.index(kernel), groups)

    def _quantised(self, name: str, call: Call) -> Any:
        """What bitsandbytes' own CUDA kernel gives; every buffer that it does not give is its workspace."""
        before, self.in_quantised_kernel = self.in_quantised_kernel, True
        try:
            with self, bitsandbytes_cuda.library_calls() as calls:
                result = bitsandbytes_cuda.cuda_kernels(self.target)[name](*call.args, **call.kwargs)
        finally:
            self.in_quantised_kernel = before
        # An update belongs to the layer of its weight, as torch's own optimizers' do.
        groups = self._groups([tuple(call.tensors)]) if self.phase == Phase.OPTIMIZER else ()
        for function, touched in calls:
            self._launch(kernels.library_cost(function, touched, self.symbols.size), groups)
        for tensor in _tensors(result):
            self.ledger.categorise(tensor, self._category(tensor))
        return result

    def _describe(self, call: Call, outputs: Tensors, fresh: Tensors, *, symbolic: bool) -> _Known:
        name, measure = call.func.name(), self.symbols.size if symbolic else constant_size
        label = self.ledger.labels.index(Label("workspace", "", name))
        kernel = kernels.cost(call.func, call.args, [*call.tensors, *outputs], outputs, measure)
        inside = kernels.inside(name, call.args, measure)
        return _Known(
            recipe=None,
            fresh=tuple(self._described(o, name, symbolic=symbolic) for o in fresh),
            inside=tuple((self.ledger.sizes.index(size), label) for size in inside),
            kernel=None if kernel is None else self.ledger.kernels.index(kernel),
            multiplies=kernels.uses_cublas(name),
            lt_workspace_bytes=kernels.lt_workspace_bytes(name, call.args),
        )

    def _described(self, tensor: torch.Tensor, op: str, *, symbolic: bool) -> tuple[int, int]:
        """Size and label of a tensor that has just been made."""
        if self.phase in (Phase.LOAD, Phase.PREPARE):
            self.dimensions.update(tensor.shape)
        storage_bytes, item_bytes = tensor.untyped_storage().nbytes(), tensor.element_size()
        size = Size(storage_bytes)
        if symbolic:
            size = self.symbols.storage(tensor.shape, item_bytes, storage_bytes)
        label = Label(self._category(tensor), self.place(), op)
        return self.ledger.sizes.index(size), self.ledger.labels.index(label)

    def _write(self, known: _Known, call: Call, outputs: Tensors, fresh: Tensors) -> None:
        ledger = self.ledger
        outside = ledger.part == NO_PART and self.phase not in _PASSES
        together = _together(call) if outside else []
        sources = self._groups(together)
        each = len(outputs) == len(sources) > 1  # an op that works through lists
        for number, (tensor, (size, label)) in enumerate(zip(fresh, known.fresh, strict=True)):
            ledger.born(tensor, size, label, sources[number : number + 1] if each else sources)
        if known.multiplies:
            self._handle(known.lt_workspace_bytes)
        inside = [ledger.allocated(size, label, ledger.part) for size, label in known.inside]
        for slot in inside:
            ledger.freed(slot, ledger.part)
        if known.kernel is not None:
            ledger.launched(known.kernel, self._groups(_with_outputs(together, outputs)) if outside else ())

    def _groups(self, together: Together) -> tuple[Group, ...]:
        return tuple(self.ledger.group(tensors) for tensors in together)

    def _symbolic(self, call: Call) -> bool:
        """Whether what the call makes may depend on batch and length.

        Outside of the passes only the batch itself does: it comes from the host, and what comes of it.
        """
        if self.phase in _PASSES:
            return True
        if self.phase == Phase.LOAD:
            return False
        return any(not isinstance(t, FakeTensor) or self.ledger.is_symbolic(t) for t in call.tensors)

    def _is_fresh(self, tensor: torch.Tensor) -> bool:
        on_card = tensor.device.type == NAME
        return on_card and tensor.untyped_storage().nbytes() > 0 and not self.ledger.knows(tensor)

    def _category(self, tensor: torch.Tensor) -> str:
        if self.in_quantised_kernel:
            return "workspace"
        if self.phase == Phase.OPTIMIZER:
            return "optimizer state"
        if self.vocab in tensor.shape and self.phase in _PASSES:
            return "logits/loss"
        return "activation"

    def _handle(self, lt_workspace_bytes: int = 0) -> None:
        """The first product in a thread makes its cuBLAS handle, with a workspace that stays; so with cuBLASLt."""
        thread = "backward" if self.phase == Phase.BACKWARD else "forward"
        for name, size in (
            ("cublas", Size(1, constant="cublas_workspace")),
            ("cublasLt", Size(lt_workspace_bytes)),
        ):
            if size.scale and f"{name} {thread}" not in self._handles:
                self._handles.add(f"{name} {thread}")
                self._buffer(size, f"{name} handle")

    def _buffer(self, size: Size, op: str) -> int:
        label = self.ledger.labels.index(Label("workspace", "", op))
        return self.ledger.allocated(self.ledger.sizes.index(size), label, NO_PART)

    # What the patches tell the card.

    def warm_up(self, total_bytes: int, per_layer_bytes: int) -> None:
        """The loader's one allocation of everything, dropped at once; it stays in the cache."""
        size = Size(total_bytes, per_layer=per_layer_bytes, constant="loader_warmup")
        self.ledger.freed(self._buffer(size, "loader warm-up"), NO_PART)

    def product(self, into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        """A matrix product into memory that is already there."""
        self._handle()
        self._launch(kernels.product(into, left, right, self.symbols.size))

    def host_copy(self, tensor: torch.Tensor) -> None:
        """A copy between the tensor and the host's memory; it passes the bus, not the card's memory."""
        self._launch(Kernel("host", (), (self.symbols.size(tensor.shape, tensor.element_size()),)))

    def paged(self, state: torch.Tensor, weight: torch.Tensor) -> None:
        """A state of the weight in memory that the card shares with the host; each further layer has one, too."""
        further = state.nbytes if self.ledger.part_of(weight) == TEMPLATE else 0
        before = self.managed
        self.managed = Size(before.scale + state.nbytes, per_layer=before.per_layer + further)

    def launch(self, args: tuple[Any, ...]) -> None:
        """A kernel of Triton's, on whatever tensors are among its arguments."""
        touched = [arg for arg in args if isinstance(arg, torch.Tensor)]
        moved = kernels.summed(self.symbols.size(t.shape, t.element_size()) for t in touched)
        self._launch(Kernel("triton", (), moved))

    def relabel(self, tensor: torch.Tensor, category: str, module: str) -> None:
        """Say what a live storage is, now that it is known; the part has the layer's number, the name not."""
        self.ledger.relabel(tensor, category, _without_layer(module), self.parts.of_name(module))

    def gradient(self, tensor: torch.Tensor, module: str) -> None:
        """Say of a live storage that it is the gradient of that weight."""
        self.ledger.categorise(tensor, "gradient", _without_layer(module))


def _without_layer(module: str) -> str:
    return _LAYER_NUMBER.sub(".*.", module, count=1)


def _concerns(call: Call) -> bool:
    if any(isinstance(t, FakeTensor) for t in call.tensors):
        return True
    device = call.kwargs.get("device")
    return device is not None and torch.device(device).type == NAME


def _tensors(result: Any) -> Tensors:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def _together(call: Call) -> Together:
    """What an op works on together: the like elements of its lists, else each input alone."""
    lists = [a for a in call.args if isinstance(a, list | tuple) and a and isinstance(a[0], torch.Tensor)]
    together: Together = list(zip(*lists, strict=True)) if len({len(a) for a in lists}) == 1 else []
    grouped = {id(t) for group in together for t in group}
    return [*together, *((t,) for t in call.tensors if id(t) not in grouped)]


def _with_outputs(together: Together, outputs: Tensors) -> Together:
    if len(outputs) == len(together) > 1:
        return [(*group, output) for group, output in zip(together, outputs, strict=True)]
    return [*together, *((o,) for o in outputs)]


@functools.cache
def _is_composite(func: Any) -> bool:
    # Some ops have both: parts to fall back on, and a kernel of their own (silu_backward). Where the CPU has
    # a kernel, CUDA has one too, and runs it.
    keys = torch._C.DispatchKey
    return (
        func.namespace == "aten"
        and func.has_kernel_for_dispatch_key(keys.CompositeImplicitAutograd)
        and not func.has_kernel_for_dispatch_key(keys.CPU)
    )
