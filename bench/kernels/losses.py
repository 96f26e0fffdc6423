"""Over the whole vocabulary: softmax and cross-entropy, forward and backward."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from bench.kernels.kernel import Call, Kernel, Place

_SHAPES = ((256, 128256), (2048, 128256), (2048, 151936))  # tokens, tokens known
_NAMES = ("softmax.forward", "cross_entropy.forward", "cross_entropy.backward")
_QUICK = _SHAPES[1]
_ITEM = 4  # bytes: the loss is in fp32 whatever the model is in


def losses(place: Place) -> Iterator[Kernel]:
    """Every one of them on fp32 logits."""
    for full in _SHAPES:
        tokens, vocabulary = map(place.length, full)
        for name in _NAMES:
            yield Kernel(
                name=name,
                sizes={"tokens": tokens, "vocabulary": vocabulary, "dtype": "fp32"},
                make=_maker(place, name, tokens, vocabulary),
                bytes=_ITEM * tokens * vocabulary * (1 if name == "cross_entropy.forward" else 2),
                quick=full == _QUICK,
                memory=True,
            )


def _maker(place: Place, name: str, tokens: int, vocabulary: int) -> Callable[[], Call]:
    def make() -> Call:
        logits = place.random(tokens, vocabulary, dtype="fp32")
        if name == "softmax.forward":
            return lambda: torch.softmax(logits, -1)
        logits.requires_grad_()
        labels = torch.randint(vocabulary, (tokens,), device=place.device)
        if name == "cross_entropy.forward":
            return lambda: functional.cross_entropy(logits, labels)
        loss = functional.cross_entropy(logits, labels)
        return lambda: torch.autograd.grad(loss, logits, retain_graph=True)

    return make
