"""What the process holds on the card beyond its tensors: context, loaded kernels, cuBLAS workspaces."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from advisor.train.sensors import CardSensors

_SIDE = 256  # of the smallest product that goes through cuBLAS as any other does


@dataclass(slots=True)
class Beyond:
    """Follows the card's memory in use beyond what the allocator has reserved.

    Limits: drivers give memory in pieces of 2 MiB; what others on the card take meanwhile is counted, too.
    """

    device: torch.device
    sensors: CardSensors | None
    last_bytes: int = 0

    @property
    def source(self) -> str:
        """Who tells: NVML, or CUDA where NVML can't be asked."""
        return "nvml" if self.sensors is not None and self.sensors.used_bytes() is not None else "cuda"

    def growth_bytes(self) -> int:
        """How much more it is than at the last question; the first answer is all of it."""
        now = self._now_bytes()
        growth, self.last_bytes = now - self.last_bytes, now
        return growth

    def _now_bytes(self) -> int:
        if self.device.type != "cuda":
            return 0
        torch.cuda.synchronize(self.device)
        used = self.sensors.used_bytes() if self.sensors is not None else None
        if used is None:
            free, total = torch.cuda.mem_get_info(self.device)
            used = total - free
        return used - torch.cuda.memory_reserved(self.device)


def make_context(device: torch.device) -> None:
    """The first thing on the card: CUDA makes its context."""
    torch.zeros(1, device=device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cublas_workspaces(device: torch.device) -> dict[str, int]:
    """Bytes of the caching allocator that each cuBLAS handle keeps from its first product on.

    The process must not have multiplied before. `backward`: of autograd's own thread; `second_stream`: of the first
    thread on another stream; `with_bias`: what a product through cuBLASLt adds.
    """
    if device.type != "cuda":
        return {}
    side = torch.randn(_SIDE, _SIDE, device=device)
    weight = torch.randn(_SIDE, _SIDE, device=device, requires_grad=True)
    bias = torch.randn(_SIDE, device=device)
    found = {"forward": _kept_bytes(lambda: side @ side)}
    output = side @ weight
    found["backward"] = _kept_bytes(lambda: torch.autograd.grad(output, weight, side, retain_graph=True))
    found["with_bias"] = _kept_bytes(lambda: torch.addmm(bias, side, side))
    with torch.cuda.stream(torch.cuda.Stream(device)):
        found["second_stream"] = _kept_bytes(lambda: side @ side)
    return found


def _kept_bytes(call: Callable[[], object]) -> int:
    """What the first call leaves allocated beyond what the second leaves."""
    first, second = _left_bytes(call), _left_bytes(call)
    return first - second


def _left_bytes(call: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    held = call()
    torch.cuda.synchronize()
    left = torch.cuda.memory_allocated() - before
    del held
    return left
