"""Matrix products in the shapes of a step: layers, adapters, the vocabulary, and back."""

from collections.abc import Iterator

import torch
from torch.nn import functional

from bench.kernels.kernel import Call, Kernel, Place, item_bytes

# Hidden size, size between the two halves of the MLP, and size of the keys: Qwen2.5 0.5B, Llama 3.2 3B, Llama 3.1 8B.
LAYERS = {"0.5B": (896, 4864, 128), "3B": (3072, 8192, 1024), "8B": (4096, 14336, 1024)}
_TOKENS = (512, 2048, 8192)
_FP32_TOKENS = (512, 2048)  # a step in fp32 is rarely larger, and takes sixteen times as long
_VOCABULARIES = ((896, 151936), (4096, 128256))  # hidden size, tokens known
_LOGITS_TOKENS = (256, 2048)  # a tile of the chunked loss, and a whole sequence
_RANK = 16
_QUICK = (2048, 4096, 14336, "nt")


def matmuls(place: Place) -> Iterator[Kernel]:
    """Products of two matrices of one dtype; in fp32 without TF32, as is torch's default."""
    for dtype in ("bf16", "fp16", "fp32"):
        for m, k, n, layout in _shapes(dtype):
            quick = (m, k, n, layout) == _QUICK
            yield _matmul(place, dtype, (m, k, n), layout, quick=quick)
    yield _with_bias(place, 2048, 896, 896)
    yield _with_bias(place, 2048, 4096, 4096)
    for m in _TOKENS:
        for k, n in ((896, 4864), (4096, 4096), (4096, 14336), (14336, 4096)):
            yield _int8(place, "matmul.int8", m, k, n, quick=(m, k, n) == _QUICK[:3])
    yield _int8(place, "matmul.int8_torch", 2048, 4096, 14336)


def _shapes(dtype: str) -> Iterator[tuple[int, int, int, str]]:
    """Rows, inner size, columns, and whether each side lies transposed (t) or not (n)."""
    whole = dtype != "fp32"
    for name, (hidden, between, keys) in LAYERS.items():
        if not whole and name == "3B":
            continue
        for m in _TOKENS if whole else _FP32_TOKENS:
            for k, n in ((hidden, hidden), (hidden, keys), (hidden, between), (between, hidden)):
                yield m, k, n, "nt"
    for hidden, between, _ in (LAYERS["0.5B"], LAYERS["8B"]):
        yield 2048, between, hidden, "nn"  # the gradient of a layer's input
        yield 2048, hidden, between, "nn"
        yield between, 2048, hidden, "tn"  # the gradient of its weight
        yield from _adapter(2048, hidden, between)
    yield from _adapter(8192, *LAYERS["8B"][:2])
    for hidden, vocabulary in _VOCABULARIES:
        for m in _LOGITS_TOKENS if whole else _LOGITS_TOKENS[:1]:
            yield m, hidden, vocabulary, "nt"
            yield m, vocabulary, hidden, "nn"


def _adapter(tokens: int, hidden: int, between: int) -> Iterator[tuple[int, int, int, str]]:
    yield tokens, hidden, _RANK, "nt"  # down
    yield tokens, _RANK, between, "nt"  # up
    yield tokens, between, _RANK, "nn"  # the gradient between them
    yield tokens, _RANK, hidden, "nn"  # the gradient of the input
    yield between, tokens, _RANK, "tn"  # the gradient of the one
    yield _RANK, tokens, hidden, "tn"  # and of the other


def _matmul(
    place: Place, dtype: str, full: tuple[int, int, int], layout: str, *, quick: bool = False
) -> Kernel:
    m, k, n = (size if size == _RANK else place.length(size) for size in full)
    item = item_bytes(dtype)

    def make() -> Call:
        place.need(dtype)
        left = _side(place, m, k, dtype, transposed=layout[0] == "t")
        right = place.cycled(lambda: _side(place, k, n, dtype, transposed=layout[1] == "t"), item * k * n)
        return lambda: left @ right()

    return Kernel(
        name=f"matmul.{dtype}",
        sizes={"m": m, "k": k, "n": n, "layout": layout},
        make=make,
        flops=2 * m * k * n,
        bytes=item * (m * k + k * n + m * n),
        quick=quick,
        memory=quick,
    )


def _side(place: Place, rows: int, columns: int, dtype: str, *, transposed: bool) -> torch.Tensor:
    if transposed:
        return place.random(columns, rows, dtype=dtype).t()
    return place.random(rows, columns, dtype=dtype)


def _with_bias(place: Place, *full: int) -> Kernel:
    m, k, n = map(place.length, full)
    dtype, item = place.half, item_bytes(place.half)

    def make() -> Call:
        left, bias = place.random(m, k, dtype=dtype), place.random(n, dtype=dtype)
        weight = place.cycled(lambda: place.random(n, k, dtype=dtype), item * k * n)
        return lambda: functional.linear(left, weight(), bias)

    return Kernel(
        name=f"matmul.{dtype}_bias",
        sizes={"m": m, "k": k, "n": n},
        make=make,
        flops=2 * m * k * n,
        bytes=item * (m * k + k * n + m * n + n),
        memory=True,
    )


def _int8(place: Place, name: str, *full: int, quick: bool = False) -> Kernel:
    m, k, n = map(place.length, full)

    def make() -> Call:
        from bitsandbytes.functional import int8_linear_matmul

        left = _integers(place, m, k)
        right = place.cycled(lambda: _integers(place, n, k), k * n)
        if name == "matmul.int8_torch":
            return lambda: torch._int_mm(left, right().t())  # noqa: SLF001 - no public name
        return lambda: int8_linear_matmul(left, right())

    return Kernel(
        name=name,
        sizes={"m": m, "k": k, "n": n},
        make=make,
        flops=2 * m * k * n,
        bytes=m * k + k * n + 4 * m * n,
        quick=quick,
        memory=m == place.length(2048),
    )


def _integers(place: Place, rows: int, columns: int) -> torch.Tensor:
    made = torch.randint(-127, 128, (rows, columns), device=place.device)
    return made.to(torch.int8)
