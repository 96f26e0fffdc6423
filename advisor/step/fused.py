"""LoRA's two products written into their layer's own result, not beside it.

PEFT's forward pass makes the adapter's output a tensor of its own, scales it into a second, adds both into a third, and
copies the result of a 4-bit layer before that; its backward pass does likewise with the input's gradient. Here each is the
sum that the last product writes (`addmm`): the same mathematics, rounded once where PEFT rounds three times, so the numbers
are not the same to the bit. Decision 28.
"""

from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import nn

_BASES = (nn.Linear, Linear4bit)


def fuse_adapters(model: nn.Module) -> int:
    """Have the model's LoRA layers add where they multiply; how many do. The weights and their names stay as they are."""
    layers = [m for m in model.modules() if isinstance(m, LoraLayer) and type(m.base_layer) in _BASES]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    return len(layers)


def _forward(layer: Any, unfused: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    name = _adapter(layer)
    if args or kwargs or name is None or not _of_one_dtype(layer, name, x):
        return unfused(x, *args, **kwargs)  # type: ignore[no-any-return]
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _LoraLinear.apply(x, a, b, layer.base_layer, layer.scaling[name])  # type: ignore[no-any-return, no-untyped-call]


def _adapter(layer: Any) -> str | None:
    """The one adapter that only multiplies; None where there is more to do than that."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1 or layer.disable_adapters or layer.merged or active[0] in layer.lora_variant:
        return None
    drops = layer.training and not isinstance(layer.lora_dropout[active[0]], nn.Identity)
    biased = layer.lora_A[active[0]].bias is not None or layer.lora_B[active[0]].bias is not None
    return None if drops or biased or _learns(layer.base_layer) else active[0]


def _learns(base: nn.Module) -> bool:
    weight, bias = base.weight, base.bias
    return bool(weight.requires_grad or (bias is not None and bias.requires_grad))


def _of_one_dtype(layer: Any, name: str, x: torch.Tensor) -> bool:
    """Whether all of it is computed in the dtype that comes in and goes out."""
    base = layer.base_layer
    kind = x.device.type
    adapter = layer.lora_A[name].weight.dtype
    computed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else adapter
    stored = base.compute_dtype if isinstance(base, Linear4bit) else base.weight.dtype
    return bool(x.dtype == computed == stored)


class _LoraLinear(torch.autograd.Function):
    """`base(x) + scaling * x @ a.T @ b.T`; x is [..., in], a [rank, in], b [out, rank], the base layer is frozen."""

    @staticmethod
    def forward(  # noqa: PLR0913 - what a layer with an adapter is made of
        ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, base: nn.Module, scaling: float
    ) -> torch.Tensor:
        ctx.dtypes = a.dtype, b.dtype
        a, b = a.to(x.dtype), b.to(x.dtype)
        result: torch.Tensor = base(x)
        low = torch.mm(_rows(x), a.t()).mul_(scaling)
        _add_product(_rows(result), low, b.t())
        ctx.save_for_backward(x, a, b, low)
        ctx.base, ctx.scaling = base, scaling
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, a, b, low = ctx.saved_tensors
        (gradient,) = gradients
        rows = _rows(gradient)
        of_low = torch.mm(rows, b).mul_(ctx.scaling)
        of_a = torch.mm(of_low.t(), _rows(x)).to(ctx.dtypes[0]) if ctx.needs_input_grad[1] else None
        of_b = torch.mm(rows.t(), low).to(ctx.dtypes[1]) if ctx.needs_input_grad[2] else None
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.mm(rows, _weight(ctx.base))
            _add_product(of_x, of_low, a)
            of_x = of_x.view(x.shape)
        return of_x, of_a, of_b, None, None


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    torch.addmm(total, left, right, out=total)


def _weight(base: nn.Module) -> torch.Tensor:
    """The layer's weight [out, in] in the dtype that it computes in."""
    weight: Any = base.weight
    if not isinstance(base, Linear4bit):
        return weight  # type: ignore[no-any-return]
    unpacked: torch.Tensor = dequantize_4bit(weight.view(-1, 1), weight.quant_state)
    return unpacked.to(base.compute_dtype)
