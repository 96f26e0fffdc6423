"""What a dispatch mode hides: sums in place, cuDNN's attention, the order of casts. See decision 0016."""

from typing import ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from advisor.catalog.gpus import find_gpu
from advisor.profiles.folders import profiles_folder
from advisor.profiles.probe import read_probes
from advisor.simulate import kernels
from advisor.simulate.attention import choose
from advisor.simulate.sizes import Symbols
from advisor.simulate.sums import is_in_place, unshared_holders
from advisor.tape.target import target_of


class Given(torch.autograd.Function):
    """A copy, whose gradient is a tensor of which the test knows the place."""

    places: ClassVar = []
    held: ClassVar = []
    hold = False

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        mine = gradient.clone()
        Given.places.append(mine.data_ptr())
        if Given.hold:
            Given.held.append(mine)
        return mine


class Watch(TorchDispatchMode):
    """Remembers what `is_in_place` says of each sum."""

    def __init__(self):
        super().__init__()
        unshared_holders()  # found out before this mode watches
        self.said = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.add.Tensor and not torch.is_grad_enabled():
            self.said.append(is_in_place(func, args))
        return func(*args, **(kwargs or {}))


def used_twice(*, hold=False):
    """The gradient of a value with two uses, and where the gradients of the uses lay."""
    Given.places, Given.held, Given.hold = [], [], hold
    value = torch.ones(64, requires_grad=True)
    inner = value * 1  # the sum is made in the engine's buffer, not in `.grad`
    seen = []
    inner.register_hook(lambda gradient: seen.append(gradient.data_ptr()))
    (Given.apply(inner) + Given.apply(inner)).sum().backward()
    return seen[0]


def test_torch_adds_gradients_in_place():
    """The fact itself, of this version of torch: the sum lies where the first gradient lay."""
    assert used_twice() == Given.places[0]


def test_torch_does_not_where_someone_holds_the_first():
    """It would change what the holder sees."""
    assert used_twice(hold=True) not in Given.places


def test_torch_does_not_where_a_mode_watches():
    """Why a trace has to put it back."""
    with Watch():
        place = used_twice()

    assert place not in Given.places


@pytest.mark.parametrize("hold", [False, True])
def test_a_mode_can_tell(hold):
    """What torch would do without it."""
    with Watch() as watch:
        used_twice(hold=hold)

    assert [not hold] == watch.said


def test_other_sums_are_not_taken_for_it():
    """One that a program writes, with no gradient wanted."""
    with Watch() as watch, torch.no_grad():
        torch.add(torch.ones(3), torch.ones(3))

    assert [False] == watch.said


@pytest.mark.parametrize(
    ("gpu", "head_size", "kernel"),
    [
        ("h100-80gb-sxm", 128, "cudnn"),
        ("h100-80gb-sxm", 256, "flash"),
        ("rtx-4090", 128, "flash"),
        ("t4", 128, "math"),
    ],
)
def test_the_card_decides_the_attention_kernel(gpu, head_size, kernel):
    """With grouped heads in half precision."""
    query = torch.empty(1, 8, 16, head_size, dtype=torch.float16, device="meta")
    key = torch.empty(1, 2, 16, head_size, dtype=torch.float16, device="meta")

    assert kernel == choose(target_of(find_gpu(gpu)[0]), query, key, masked=False)


def probed(name):
    """Each size of that kernel that was probed on a card, with its allocator events."""
    return [
        (kernel.sizes, kernel.allocator_events)
        for probe in read_probes(profiles_folder())
        for kernel in probe.kernels
        if kernel.name == name and kernel.allocator_events
    ]


def test_the_workspace_of_cudnn_is_what_was_probed():
    """To the byte, as a number and as an expression in batch and length."""
    cases = probed("attention.cudnn.backward")
    assert len(cases) >= 5

    for sizes, events in cases:
        shape = (sizes["batch"], sizes["heads"], sizes["tokens"], sizes["head_size"])
        query = torch.empty(*shape, dtype=torch.bfloat16, device="meta")
        key = torch.empty(shape[0], sizes["key_heads"], *shape[2:], dtype=torch.bfloat16, device="meta")
        name = "aten::_scaled_dot_product_cudnn_attention_backward"
        (exact,) = kernels.inside(name, (query, query, key), Symbols(1, 1, exact=True).size)

        assert exact.at(1, 1, 0) in events


def test_the_workspace_of_cudnn_follows_batch_and_length():
    """Traced at primes, evaluated elsewhere."""
    name = "aten::_scaled_dot_product_cudnn_attention_backward"

    def inside(batch, length, symbols):
        query = torch.empty(batch, 32, length, 128, dtype=torch.bfloat16, device="meta")
        key = torch.empty(batch, 8, length, 128, dtype=torch.bfloat16, device="meta")
        return kernels.inside(name, (query, query, key), symbols.size)[0]

    for batch in (13, 1):
        size = inside(batch, 211, Symbols(batch, 211))
        other = 4 if batch > 1 else 1
        wanted = inside(other, 2048, Symbols(1, 1, exact=True)).at(1, 1, 0)
        assert wanted == size.at(other, 2048, 0)
