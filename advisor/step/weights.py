"""Where weights come from: a checkpoint, or random numbers in the shape of a config."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PretrainedConfig

from advisor.errors import AdvisorError, unknown_name
from advisor.step.observe import Observer

MakeTensor = Callable[[str, tuple[int, ...], torch.dtype], torch.Tensor]

# Standard deviation of matrices, and the weights of norms: so small that no activation reaches 6.0, where LLM.int8
# would see outliers. All matrices repeat the same numbers, so that a row meets itself: with norms of 1 one layer had some.
_SPREAD, _NORM = 0.01, 0.1
_SEED_BLOCK = 1 << 22  # random numbers drawn once and repeated: drawing 8e9 of them takes minutes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights in a local directory or under a hub name; read with safetensors only."""

    path: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """Weights made on demand in the shape of a config; they teach nothing, they only take space."""

    config: dict[str, Any]
    make: MakeTensor


WeightSource = Checkpoint | Shaped


class LazyWeight:
    """One weight that exists only once the loader slices it, as safetensors' own slices do."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, make: MakeTensor) -> None:
        """Remember how to make it; make nothing yet."""
        self.name, self.shape, self.dtype, self._make = name, shape, dtype, make

    def __getitem__(self, _: object) -> torch.Tensor:
        """The whole tensor; the loader always asks for `[...]`."""
        return self._make(self.name, self.shape, self.dtype)

    def get_shape(self) -> list[int]:
        """Shape, as `safetensors` tells it."""
        return list(self.shape)

    def get_dtype(self) -> str:
        """Dtype, as `safetensors` tells it."""
        return {torch.float32: "F32", torch.float16: "F16"}.get(self.dtype, "BF16")


def random_weights(seed: int = 0, *, for_card: bool = False) -> MakeTensor:
    """Makes weights that keep activations small: normal matrices, and norms of one small weight.

    Random, never zero: kernels run faster on zeros, so timings on them would flatter. `for_card`: each will be copied
    to a card, so that all of one size may be one tensor here, in pinned memory; a 70B model loads in seconds so.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(_SEED_BLOCK, generator=generator) * _SPREAD
    blocks = {torch.float32: drawn}

    def matrix(elements: int, dtype: torch.dtype) -> torch.Tensor:
        block = blocks.setdefault(dtype, drawn.to(dtype))
        flat = torch.empty(elements, dtype=dtype, pin_memory=for_card)
        whole = elements // _SEED_BLOCK
        flat[: whole * _SEED_BLOCK].view(whole, _SEED_BLOCK).copy_(block.expand(whole, _SEED_BLOCK))
        flat[whole * _SEED_BLOCK :] = block[: elements % _SEED_BLOCK]
        return flat

    if for_card:
        matrix = cache(matrix)

    def make(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if len(shape) == 1:
            return torch.full(shape, 0.0 if name.endswith("bias") else _NORM, dtype=dtype)
        return matrix(torch.Size(shape).numel(), dtype).view(shape)

    return make


def build_config(facts: Mapping[str, Any]) -> PretrainedConfig:
    """The transformers config behind the facts of a config.json.

    Raises: AdvisorError where transformers does not know the architecture, or refuses a value.
    """
    # A deep copy: transformers writes defaults into nested tables, and the facts are part of a tape's name.
    known = deepcopy({k: v for k, v in facts.items() if not k.startswith("_") and k != "auto_map"})
    kind = known.pop("model_type", None)
    if kind is None:
        raise AdvisorError(
            "The config has no model_type.", fix="add the key as the model's config.json has it"
        )
    if kind not in CONFIG_MAPPING:
        raise unknown_name(
            "model_type", str(kind), CONFIG_MAPPING, fix="check it against the model's config.json"
        )
    try:
        return AutoConfig.for_model(kind, **known)
    except Exception as error:  # transformers raises many kinds for bad values
        raise AdvisorError(
            f"transformers can't build a {kind!r} config.",
            why=" ".join(line.strip() for line in str(error).splitlines()[:2]),  # what, and which value
            fix="check model_type and the values against the model's config.json",
        ) from error


def lazy_state_dict(config: PretrainedConfig, source: Shaped, observer: Observer) -> dict[str, Any]:
    """Every weight of the model by its name, tied ones once, none of them made yet."""
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    skeleton.tie_weights()

    def make(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        observer.weight(name)
        return source.make(name, shape, dtype)

    dtype = config.dtype if isinstance(config.dtype, torch.dtype) else torch.bfloat16
    return {name: LazyWeight(name, tuple(weight.shape), dtype, make) for name, weight in _weights(skeleton)}


def _weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters(remove_duplicate=True)
    persistent = model.state_dict().keys()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in persistent)
