"""One optimizer step over the adapters of an 8B model, and over one large weight."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from bench.kernels.kernel import Call, Kernel, Place, item_bytes

# Tensors, elements of each: LoRA of rank 16 on all linear layers of Llama 3.1 8B, and the MLP of one layer of it.
_ADAPTERS = (448, 16 * 5760)
_WEIGHTS = (3, 4096 * 14336)
_STATE_BYTES = {
    "adamw_8bit": 2,
    "adamw_paged_8bit": 2,
}  # of one parameter's two moments; else as the parameter's
_KINDS = ("adamw_fused", "adamw_foreach", "adamw_8bit", "adamw_paged_8bit")


def optimizers(place: Place) -> Iterator[Kernel]:
    """A warm step of each, and the clipping before it."""
    for kind in _KINDS:
        yield _step(place, kind, _ADAPTERS, "fp32", quick=kind == "adamw_fused")
        yield _step(place, kind, _WEIGHTS, place.half)
    yield _clip(place, _ADAPTERS, "fp32")
    yield _clip(place, _WEIGHTS, place.half)


def _step(place: Place, kind: str, full: tuple[int, int], dtype: str, *, quick: bool = False) -> Kernel:
    tensors, elements = _scaled(place, full)
    state = _STATE_BYTES.get(kind, 2 * item_bytes(dtype))
    each = 3 * item_bytes(dtype) + 2 * state  # parameter twice, gradient once, both moments twice

    def make() -> Call:
        return _MAKERS[kind](_parameters(place, tensors, elements, dtype)).step

    return Kernel(
        name=f"optimizer.{kind}",
        sizes={"tensors": tensors, "elements": elements, "dtype": dtype},
        make=make,
        bytes=tensors * elements * each,
        quick=quick,
        memory=True,
    )


def _clip(place: Place, full: tuple[int, int], dtype: str) -> Kernel:
    tensors, elements = _scaled(place, full)

    def make() -> Call:
        parameters = _parameters(place, tensors, elements, dtype)
        return lambda: torch.nn.utils.clip_grad_norm_(parameters, 1.0)

    return Kernel(
        name="optimizer.clip",
        sizes={"tensors": tensors, "elements": elements, "dtype": dtype},
        make=make,
        bytes=3 * tensors * elements * item_bytes(dtype),  # read for the norm, then read and written
        memory=True,
    )


def _scaled(place: Place, full: tuple[int, int]) -> tuple[int, int]:
    tensors, elements = full
    return max(2, int(tensors * min(1.0, place.scale))), place.area(elements)


def _parameters(place: Place, tensors: int, elements: int, dtype: str) -> list[torch.nn.Parameter]:
    made = [torch.nn.Parameter(place.random(elements, dtype=dtype)) for _ in range(tensors)]
    for parameter in made:
        parameter.grad = place.random(elements, dtype=dtype)
    return made


def _torch_adamw(**options: Any) -> Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.AdamW(parameters, **options)


def _bitsandbytes_adamw(name: str) -> Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]:
    def make(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        import bitsandbytes

        made: torch.optim.Optimizer = getattr(bitsandbytes.optim, name)(parameters)
        return made

    return make


_MAKERS = {
    "adamw_fused": _torch_adamw(fused=True),
    "adamw_foreach": _torch_adamw(foreach=True),
    "adamw_8bit": _bitsandbytes_adamw("AdamW8bit"),
    "adamw_paged_8bit": _bitsandbytes_adamw("PagedAdamW8bit"),
}
