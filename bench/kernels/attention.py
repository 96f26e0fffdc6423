"""Attention forward and backward through torch's own, one backend at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from bench.kernels.kernel import Call, Kernel, Place, Sizes, item_bytes

_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
# Sequences, query heads, key heads, tokens, head size: Llama 3.1 8B, and Qwen2.5 0.5B with the smaller head.
_SHAPES = (
    (4, 32, 8, 512, 128),
    (4, 32, 8, 2048, 128),
    (1, 32, 8, 8192, 128),
    (4, 14, 2, 512, 64),
    (4, 14, 2, 2048, 64),
    (1, 14, 2, 8192, 64),
)
_QUICK = _SHAPES[1]
_LONGEST_FOR_MATH = 2048  # it holds every score
_BACKWARD = 2.5  # five products for the forward pass's two


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    batch: int
    heads: int
    key_heads: int
    tokens: int
    head_size: int
    dtype: str
    masked: bool  # by a tensor, as for a batch of several lengths; else causal

    @property
    def sizes(self) -> Sizes:
        return {
            "batch": self.batch,
            "heads": self.heads,
            "key_heads": self.key_heads,
            "tokens": self.tokens,
            "head_size": self.head_size,
            "dtype": self.dtype,
            "mask": "tensor" if self.masked else "causal",
        }

    @property
    def flops(self) -> int:
        """Two products, of which a causal kernel leaves out half."""
        scores = self.batch * self.heads * self.tokens**2 * self.head_size
        return 4 * scores // (1 if self.masked else 2)

    @property
    def bytes(self) -> int:
        """Queries, keys and values read, the result written."""
        heads = 2 * self.heads + 2 * self.key_heads
        return item_bytes(self.dtype) * self.batch * heads * self.tokens * self.head_size


def attentions(place: Place) -> Iterator[Kernel]:
    """Every backend at every shape; keys are repeated first where a backend does not group heads itself."""
    for backend in _BACKENDS:
        for full in _SHAPES:
            if backend != "math" or full[3] <= _LONGEST_FOR_MATH:
                grouped = backend != "efficient"
                yield from _both(place, backend, _shape(place, full, grouped=grouped), quick=full == _QUICK)
    repeated = _shape(place, _QUICK, grouped=False)
    yield from _both(place, "flash", repeated)
    yield from _both(place, "efficient", _shape(place, _QUICK, grouped=False, masked=True))
    for backend in ("efficient", "math"):
        yield from _both(place, backend, _shape(place, _SHAPES[0], grouped=False, dtype="fp32"))


def _shape(
    place: Place, full: tuple[int, ...], *, grouped: bool, masked: bool = False, dtype: str = ""
) -> _Shape:
    batch, heads, key_heads, tokens, head_size = full
    return _Shape(
        batch=batch,
        heads=heads,
        key_heads=key_heads if grouped else heads,
        tokens=place.length(tokens),
        head_size=head_size,
        dtype=dtype or place.half,
        masked=masked,
    )


def _both(place: Place, backend: str, shape: _Shape, *, quick: bool = False) -> Iterator[Kernel]:
    for way, factor in (("forward", 1.0), ("backward", _BACKWARD)):
        yield Kernel(
            name=f"attention.{backend}.{way}",
            sizes=shape.sizes,
            make=_maker(place, backend, shape, way),
            flops=int(shape.flops * factor),
            bytes=shape.bytes * (1 if way == "forward" else 2),
            quick=quick,
            memory=True,
        )


def _maker(place: Place, backend: str, shape: _Shape, way: str) -> Callable[[], Call]:
    def make() -> Call:
        query = _heads(place, shape, shape.heads)
        key, value = (_heads(place, shape, shape.key_heads) for _ in range(2))
        mask = _mask(place, shape) if shape.masked else None

        def forward() -> torch.Tensor:
            with sdpa_kernel([_BACKENDS[backend]]):
                return scaled_dot_product_attention(
                    query,
                    key,
                    value,
                    attn_mask=mask,
                    is_causal=mask is None,
                    enable_gqa=shape.heads != shape.key_heads,
                )

        if way == "forward":
            return forward
        output = forward()
        gradient = place.random(*output.shape, dtype=shape.dtype)
        return lambda: torch.autograd.grad(output, (query, key, value), gradient, retain_graph=True)

    return make


def _heads(place: Place, shape: _Shape, heads: int) -> torch.Tensor:
    """As a model has them: tokens before heads in memory."""
    made = place.random(shape.batch, shape.tokens, heads, shape.head_size, dtype=shape.dtype)
    return made.transpose(1, 2).requires_grad_()


def _mask(place: Place, shape: _Shape) -> torch.Tensor:
    tokens = shape.tokens
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=place.device).tril()
    return causal.expand(shape.batch, 1, tokens, tokens)
