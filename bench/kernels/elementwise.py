"""What moves memory and hardly computes: sums, activations, casts, norms, embeddings."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from advisor.units import MIB
from bench.kernels.kernel import DTYPES, Call, Kernel, Place, item_bytes

_TENSOR_BYTES = (MIB, 8 * MIB, 64 * MIB, 512 * MIB)  # the first stay in the L2 cache of most cards
_ROWS = ((2048, 896), (2048, 4096), (8192, 4096))  # tokens, hidden size
_EMBEDDING = (2048, 4096, 128256)  # tokens, hidden size, tokens known
_EPSILON = 1e-5

Apply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Each with how many tensors of the size it reads and writes.
_PAIRS: dict[str, tuple[Apply, int]] = {
    "elementwise.add": (torch.add, 3),
    "elementwise.mul": (torch.mul, 3),
    "elementwise.silu": (lambda x, _: functional.silu(x), 2),
}


def elementwise(place: Place) -> Iterator[Kernel]:
    """Every one of them; each writes a new tensor."""
    for dtype in ("fp32", place.half):
        for full in _TENSOR_BYTES:
            elements = place.area(full) // item_bytes(dtype)
            quick = full == _TENSOR_BYTES[-1]
            for name in _PAIRS:
                yield _pair(place, name, dtype, elements, quick=quick and name == "elementwise.add")
            yield _cast(place, dtype, place.half if dtype == "fp32" else "fp32", elements)
    for tokens, hidden in _ROWS:
        for name in ("norm.rms", "norm.rms_fused"):
            yield _norm(place, name, place.length(tokens), place.length(hidden))
    for way in ("forward", "backward"):
        yield _embedding(place, way, *map(place.length, _EMBEDDING))


def _pair(place: Place, name: str, dtype: str, elements: int, *, quick: bool) -> Kernel:
    apply, tensors = _PAIRS[name]

    def make() -> Call:
        left, right = (place.random(elements, dtype=dtype) for _ in range(2))
        return lambda: apply(left, right)

    return Kernel(
        name=name,
        sizes={"elements": elements, "dtype": dtype},
        make=make,
        flops=elements,
        bytes=tensors * elements * item_bytes(dtype),
        quick=quick,
    )


def _cast(place: Place, dtype: str, to: str, elements: int) -> Kernel:
    def make() -> Call:
        source = place.random(elements, dtype=dtype)
        return lambda: source.to(DTYPES[to])

    return Kernel(
        name="elementwise.cast",
        sizes={"elements": elements, "dtype": dtype, "to": to},
        make=make,
        bytes=elements * (item_bytes(dtype) + item_bytes(to)),
    )


def _norm(place: Place, name: str, tokens: int, hidden: int) -> Kernel:
    dtype = place.half

    def make() -> Call:
        rows, weight = place.random(tokens, hidden, dtype=dtype), place.random(hidden, dtype=dtype)
        if name == "norm.rms_fused":
            return lambda: functional.rms_norm(rows, (hidden,), weight, _EPSILON)
        return lambda: rms_norm(rows, weight)

    return Kernel(
        name=name,
        sizes={"tokens": tokens, "hidden": hidden, "dtype": dtype},
        make=make,
        bytes=2 * tokens * hidden * item_bytes(dtype),
        quick=(tokens, hidden) == _ROWS[-1],
        memory=True,
    )


def rms_norm(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The norm of Llama as transformers writes it: six small kernels, in fp32."""
    wide = rows.to(torch.float32)
    variance = wide.pow(2).mean(-1, keepdim=True)
    return weight * (wide * torch.rsqrt(variance + _EPSILON)).to(rows.dtype)


def _embedding(place: Place, way: str, tokens: int, hidden: int, vocabulary: int) -> Kernel:
    dtype, item = place.half, item_bytes(place.half)

    def make() -> Call:
        table = place.random(vocabulary, hidden, dtype=dtype).requires_grad_()
        shape = (1, tokens)
        names = torch.randint(vocabulary, shape, device=place.device)
        if way == "forward":
            return lambda: functional.embedding(names, table)
        output = functional.embedding(names, table)
        gradient = place.random(*output.shape, dtype=dtype)
        return lambda: torch.autograd.grad(output, table, gradient, retain_graph=True)

    rows = 2 * tokens if way == "forward" else tokens + vocabulary
    return Kernel(
        name=f"embedding.{way}",
        sizes={"tokens": tokens, "hidden": hidden, "vocabulary": vocabulary, "dtype": dtype},
        make=make,
        bytes=rows * hidden * item,
        memory=True,
    )
