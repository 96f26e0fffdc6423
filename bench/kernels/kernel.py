"""What a kernel of the suite is, and the place where it runs."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")
Call = Callable[[], object]
Sizes = Mapping[str, int | str]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_MULTIPLE = 64  # of scaled lengths: NF4 has blocks of 64, and rows of whole blocks in any model
_MOST_COPIES = 64


class UnsupportedError(Exception):
    """This card or these libraries can't run the kernel; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel at one size: `make` prepares its tensors and gives the call to time."""

    name: str
    sizes: Sizes
    make: Callable[[], Call]
    flops: int = 0  # of one call; a multiply-add is two
    bytes: int = 0  # that one call must move: each input read once, each output written once
    quick: bool = False  # part of a quick probe, and first in a whole one
    memory: bool = False  # what it allocates inside is worth keeping
    host: bool = False  # it is the CPU's time that counts, not the card's


@dataclass(frozen=True, slots=True)
class Place:
    """A device, and how large things are on it: 1 on a card, less to try the suite on a CPU."""

    device: torch.device
    scale: float = 1.0

    @property
    def on_cuda(self) -> bool:
        """Whether there is a card."""
        return self.device.type == "cuda"

    @property
    def half(self) -> str:
        """The 16-bit dtype that a plan for this card computes in."""
        return "bf16" if self._native_bf16() else "fp16"

    def length(self, full: int) -> int:
        """A length at this scale."""
        if self.scale == 1:
            return full
        return max(_MULTIPLE, int(full * self.scale) // _MULTIPLE * _MULTIPLE)

    def area(self, full: int) -> int:
        """A count of elements or bytes at this scale: it shrinks as a product of two lengths."""
        if self.scale == 1:
            return full
        return max(_MULTIPLE**2, int(full * self.scale**2) // _MULTIPLE * _MULTIPLE)

    def random(self, *shape: int, dtype: str) -> torch.Tensor:
        """Normal numbers: kernels run faster on zeros, so timings on them would flatter."""
        made = torch.randn(shape, device=self.device, dtype=torch.float32)
        return made.to(DTYPES[dtype])

    def need(self, dtype: str) -> None:
        """Raises: UnsupportedError where the card would emulate the dtype."""
        if dtype == "bf16" and not self._native_bf16():
            raise UnsupportedError("no native bf16 on this card")

    def need_cuda(self) -> None:
        """Raises: UnsupportedError on a CPU."""
        if not self.on_cuda:
            raise UnsupportedError("needs a CUDA card")

    def cycled(self, make: Callable[[], T], moved_bytes: int) -> Callable[[], T]:
        """Gives copies in turn, so many that each has left the card's L2 cache when its turn comes again.

        A layer's weights come from memory at every use, for the other layers were there in between.
        """
        count = 1
        if self.on_cuda:
            cache_bytes = torch.cuda.get_device_properties(self.device).L2_cache_size
            count = min(_MOST_COPIES, 1 + 2 * cache_bytes // max(moved_bytes, 1))
        return itertools.cycle([make() for _ in range(count)]).__next__

    def _native_bf16(self) -> bool:
        return not self.on_cuda or torch.cuda.is_bf16_supported(including_emulation=False)


def item_bytes(dtype: str) -> int:
    """Bytes of one element."""
    return DTYPES[dtype].itemsize
