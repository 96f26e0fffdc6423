"""What the host spends: a launch, a layer written in Python, waiting for the card."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from bench.kernels.elementwise import rms_norm
from bench.kernels.kernel import DTYPES, Call, Kernel, Place

_HIDDEN = 64  # so small that the card waits for the host
_HEADS = 4
_TOKENS = 8
YARDSTICK = "launch.layer_forward_backward"  # by which hosts are compared


class Layer(nn.Module):
    """A decoder layer in the manner of transformers' Llama, without positions."""

    def __init__(self) -> None:
        """Seven linear layers and two norms."""
        super().__init__()
        names = ("query", "key", "value", "output", "gate", "up", "down")
        self.linears = nn.ModuleDict({name: nn.Linear(_HIDDEN, _HIDDEN, bias=False) for name in names})
        self.norms = nn.ParameterList(nn.Parameter(torch.ones(_HIDDEN)) for _ in range(2))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Attention, then the gated MLP, each added to what came in."""
        rows = rows + self._attention(rms_norm(rows, self.norms[0]))
        normed = rms_norm(rows, self.norms[1])
        gated = functional.silu(self.linears["gate"](normed)) * self.linears["up"](normed)
        added: torch.Tensor = self.linears["down"](gated)
        return rows + added

    def _attention(self, normed: torch.Tensor) -> torch.Tensor:
        shape = (*normed.shape[:-1], _HEADS, _HIDDEN // _HEADS)
        heads = [self.linears[n](normed).view(shape).transpose(1, 2) for n in ("query", "key", "value")]
        mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        made: torch.Tensor = self.linears["output"](mixed.transpose(1, 2).reshape(normed.shape))
        return made


def overheads(place: Place) -> Iterator[Kernel]:
    """The host's seconds of one call; but for `sync`, nobody waits for the card."""
    yield Kernel(name="launch.add", sizes={}, make=partial(_add, place), host=True, quick=True)
    for name, make in _LAYER_CALLS.items():
        sizes = {"hidden": _HIDDEN, "tokens": _TOKENS}
        yield Kernel(name=name, sizes=sizes, make=partial(make, place), host=True, quick=True)
    yield Kernel(name="sync.idle", sizes={}, make=partial(_wait, place), host=True, quick=True)
    yield Kernel(name="sync.item", sizes={}, make=partial(_item, place), host=True, quick=True)


def _add(place: Place) -> Call:
    one = torch.ones(1, device=place.device)
    return lambda: one.add_(1)


def _layer(place: Place) -> tuple[nn.Module, torch.Tensor]:
    dtype = place.half
    layer = Layer().to(place.device, DTYPES[dtype])
    return layer, place.random(1, _TOKENS, _HIDDEN, dtype=dtype).requires_grad_()


def _forward(place: Place) -> Call:
    layer, rows = _layer(place)
    return lambda: layer(rows)


def _forward_backward(place: Place) -> Call:
    layer, rows = _layer(place)
    gradient = torch.ones_like(rows)
    parameters = [*layer.parameters(), rows]
    return lambda: torch.autograd.grad(layer(rows), parameters, gradient)


_LAYER_CALLS = {"launch.layer_forward": _forward, YARDSTICK: _forward_backward}


def _wait(place: Place) -> Call:
    place.need_cuda()
    return lambda: torch.cuda.synchronize(place.device)


def _item(place: Place) -> Call:
    one = torch.ones(1, device=place.device)
    return lambda: one.add_(1).item()
