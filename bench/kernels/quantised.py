"""Weights of 4 and of 8 bits, through bitsandbytes: made, unpacked, multiplied, and back."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from bench.kernels.kernel import Call, Kernel, Place, item_bytes

_WEIGHTS = ((4864, 896), (1024, 4096), (4096, 4096), (14336, 4096), (4096, 14336))  # outputs, inputs
_LINEARS = ((4864, 896), (4096, 4096), (14336, 4096), (4096, 14336))
_FEW_TOKENS = (1, 16, 64, 256, 1024)  # up to where bitsandbytes leaves its own 4-bit product
_TOKENS = (512, 2048, 8192)
_THRESHOLD = 6.0  # of LLM.int8's outliers, transformers' default
_NO_OUTLIERS = 0.5  # spread of the activations: twelve of it below the threshold
_OUTLIER_COLUMNS = 8  # of the inputs: each is kept in 16 bits, and multiplied apart
_QUICK = (14336, 4096)


def quantised(place: Place) -> Iterator[Kernel]:
    """Every kernel of the quantised paths, in the 16-bit dtype of the card."""
    for full in _WEIGHTS:
        for kind, make in _UNPACKED.items():
            yield _weight_kernel(place, kind, full, make, packed_read=True)
    for full in (_WEIGHTS[0], _WEIGHTS[3]):
        for kind, make in _PACKED.items():
            yield _weight_kernel(place, kind, full, make, packed_read=False)
    yield from _activations_and_products(place)


def _activations_and_products(place: Place) -> Iterator[Kernel]:
    for tokens in _TOKENS:
        yield _activations(place, tokens, 4096)
        for full in _LINEARS:
            for kind, way in itertools.product(("nf4", "int8"), ("forward", "backward")):
                yield _linear(place, f"linear.{kind}.{way}", tokens, full)
    for full, way in itertools.product(_LINEARS, ("forward", "backward")):
        yield _linear(place, f"linear.int8_outliers.{way}", 2048, full)
    for tokens in _FEW_TOKENS:
        for full in _LINEARS:
            yield _linear(place, "linear.nf4.no_grad", tokens, full)


def _weight_kernel(
    place: Place,
    name: str,
    full: tuple[int, int],
    prepare: Callable[[Place, torch.Tensor], Call],
    *,
    packed_read: bool,
) -> Kernel:
    n, k = map(place.length, full)
    dtype = place.half
    moved = n * k * item_bytes(dtype) + (n * k if name.endswith("int8") else n * k // 2)

    def make() -> Call:
        in_turn = place.cycled(lambda: prepare(place, place.random(n, k, dtype=dtype)), moved)

        def call() -> object:
            return in_turn()()

        return call

    return Kernel(
        name=name,
        sizes={"n": n, "k": k, "dtype": dtype},
        make=make,
        bytes=moved,
        quick=packed_read and full == _QUICK,
        memory=True,
    )


def _unpack_nf4(_: Place, weight: torch.Tensor, *, double: bool) -> Call:
    from bitsandbytes.functional import dequantize_4bit

    packed, state = _nf4(weight, double=double)
    return lambda: dequantize_4bit(packed, state)


def _unpack_int8(_: Place, weight: torch.Tensor) -> Call:
    from bitsandbytes.functional import int8_vectorwise_quant

    packed, scales, _outliers = int8_vectorwise_quant(weight.to(torch.float16))
    dtype = weight.dtype
    # As bitsandbytes' backward pass does it (MatMul8bitLt).
    return lambda: packed.to(dtype, copy=True).mul_(scales.unsqueeze(1).mul(1.0 / 127.0))


def _pack_nf4(_: Place, weight: torch.Tensor) -> Call:
    return lambda: _nf4(weight, double=True)


def _pack_int8(_: Place, weight: torch.Tensor) -> Call:
    from bitsandbytes.functional import int8_vectorwise_quant

    wide = weight.to(torch.float16)
    return lambda: int8_vectorwise_quant(wide)


_UNPACKED = {
    "dequantise.nf4": lambda place, weight: _unpack_nf4(place, weight, double=True),
    "dequantise.nf4_single": lambda place, weight: _unpack_nf4(place, weight, double=False),
    "dequantise.int8": _unpack_int8,
}
_PACKED = {"quantise.nf4": _pack_nf4, "quantise.int8": _pack_int8}


def _nf4(weight: torch.Tensor, *, double: bool) -> tuple[torch.Tensor, Any]:
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=double)
    return packed, state


def _activations(place: Place, tokens: int, width: int) -> Kernel:
    m, k = place.length(tokens), place.length(width)

    def make() -> Call:
        from bitsandbytes.functional import int8_vectorwise_quant

        rows = place.random(m, k, dtype="fp16").mul_(_NO_OUTLIERS)
        return lambda: int8_vectorwise_quant(rows, threshold=_THRESHOLD)

    sizes = {"m": m, "k": k}
    return Kernel(name="quantise.int8_rows", sizes=sizes, make=make, bytes=3 * m * k, memory=True)


def _linear(place: Place, name: str, tokens: int, full: tuple[int, int]) -> Kernel:
    m = tokens if name.endswith("no_grad") else place.length(tokens)
    n, k = map(place.length, full)
    dtype, item = place.half, item_bytes(place.half)

    def make() -> Call:
        rows = place.random(m, k, dtype=dtype).mul_(_NO_OUTLIERS)
        multiply = place.cycled(lambda: _product(place, name, n, k), item * n * k)
        if "outliers" in name:
            rows[:, :_OUTLIER_COLUMNS] = 2 * _THRESHOLD
        if name.endswith("no_grad"):
            return torch.no_grad()(lambda: multiply()(rows))
        rows.requires_grad_()
        if name.endswith("forward"):
            return lambda: multiply()(rows)
        output = place.cycled(lambda: multiply()(rows), item * n * k)
        gradient = place.random(m, n, dtype=dtype)
        return lambda: torch.autograd.grad(output(), rows, gradient, retain_graph=True)

    packed = n * k if "int8" in name else n * k // 2
    return Kernel(
        name=name,
        sizes={"m": m, "n": n, "k": k, "dtype": dtype},
        make=make,
        flops=2 * m * n * k,
        bytes=packed + item * m * (n + k),
        quick=full == _QUICK and m == place.length(2048) and "outliers" not in name,
        memory=True,
    )


def _product(place: Place, name: str, n: int, k: int) -> Callable[[torch.Tensor], torch.Tensor]:
    import bitsandbytes

    weight = place.random(n, k, dtype=place.half)
    if "nf4" in name:
        packed, quant_state = _nf4(weight, double=True)
        return lambda rows: bitsandbytes.matmul_4bit(rows, packed, quant_state)
    state = bitsandbytes.MatmulLtState()
    state.has_fp16_weights, state.threshold = False, _THRESHOLD
    state.CB, state.SCB, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.to(torch.float16))
    return lambda rows: bitsandbytes.matmul(rows, state.CB, state=state, threshold=_THRESHOLD)
