"""What a plan varies: one row a dimension, so that a new field of a config is one row more.

A dimension that the user fixed keeps that value. Otherwise a plan looks at its `usual` values and, asked to be
thorough, at its `wide` ones. The first value is preferred where two configs come out equal. Micro-batch, accumulation,
sequence length and allocator are not here: they need no other tape, so `search.py` and `stretch.py` treat them apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from advisor.plan.goals import Goal
from advisor.records import Attention, Checkpointing, LoraVariant, Loss, Method, Precision, TrainConfig

if TYPE_CHECKING:
    from advisor.plan.lanes import PlanOptions

Values = Callable[[TrainConfig], tuple[Any, ...]]
_TIGHT_GOALS = (Goal.LONGEST_CONTEXT, Goal.LARGEST_BATCH, Goal.LEAST_MEMORY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One field of a config, under the same name in the options."""

    field: str
    usual: Values
    wide: Values
    tight: Values | None = None  # looked at also where memory is all that the goal is about

    def values(self, config: TrainConfig, options: "PlanOptions") -> tuple[Any, ...]:
        """What the plan looks at."""
        asked = getattr(options, self.field)
        if asked is not None:
            return (asked,)
        more = self.tight(config) if self.tight is not None and options.goal in _TIGHT_GOALS else ()
        return tuple(dict.fromkeys((*(self.wide if options.thorough else self.usual)(config), *more)))


def recomputing(config: TrainConfig) -> Checkpointing:
    """The kind to use where activations must be recomputed: LLM.int8 keeps every input through the other kind."""
    int8 = config.precision is Precision.INT8  # docs/decisions/0008
    return Checkpointing.REENTRANT if int8 else Checkpointing.NON_REENTRANT


def _constant(*values: Any) -> Values:
    return lambda _: values


def _unless_int8(*values: Any) -> Values:
    """Non-reentrant kinds would keep every input of an 8-bit layer."""
    return lambda config: () if config.precision is Precision.INT8 else values


def _of_adapters(*values: Any) -> Values:
    """The values where there are adapters; elsewhere the field says nothing."""
    return lambda config: values if config.method is Method.LORA else values[:1]


DIMENSIONS = (
    Dimension(
        field="checkpointing",
        usual=lambda config: (Checkpointing.NONE, recomputing(config)),
        wide=lambda config: (
            Checkpointing.NONE,
            recomputing(config),
            *(kind for kind in (Checkpointing.REENTRANT,) if kind is not recomputing(config)),
        ),
        tight=_unless_int8(Checkpointing.OFFLOADED),
    ),
    # The lane knows which of Liger's and TRL's the card and the model allow: docs/decisions/0009, 0026.
    Dimension(
        field="loss",
        usual=lambda config: (config.loss,),
        wide=lambda config: (config.loss, Loss.CHUNKED, Loss.STOCK),
    ),
    Dimension(
        field="optimizer",
        usual=_constant("adamw_torch_fused"),
        wide=_constant("adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"),
    ),
    # Eager attention keeps a square of scores: never smaller, never faster. Ask for it with --attention.
    Dimension(field="attention", usual=_constant(Attention.AUTO), wide=_constant(Attention.AUTO)),
    # How many layers, where some are: `partial.py` finds the fewest that will do.
    Dimension(field="checkpointed_layers", usual=_constant(None), wide=_constant(None)),
    Dimension(field="lora_variant", usual=_constant(LoraVariant.NONE), wide=_constant(LoraVariant.NONE)),
    Dimension(field="lora_rank", usual=_of_adapters(16), wide=_of_adapters(16, 64, 256)),
    Dimension(
        field="lora_targets",
        usual=_of_adapters("all-linear"),
        wide=_of_adapters("all-linear", ("q_proj", "v_proj")),
    ),
)


def variants(config: TrainConfig, options: "PlanOptions") -> Iterator[TrainConfig]:
    """Every combination of what the dimensions allow, the preferred one first."""
    names = [dimension.field for dimension in DIMENSIONS]
    for values in product(*(dimension.values(config, options) for dimension in DIMENSIONS)):
        yield replace(config, **dict(zip(names, values, strict=True)))
