"""What the longest batch that can occur needs on a card, at each micro-batch.

Limit: without the attention mask that a padded batch brings, which takes [micro_batch, 1, length, length] and another
attention kernel.
"""

from dataclasses import dataclass, replace

from advisor.data_facts.facts import Padding
from advisor.errors import AdvisorError
from advisor.estimate import Estimator
from advisor.plan.document import Plan
from advisor.records import GpuSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestBatch:
    """One micro-batch whose longest example is the longest of all."""

    micro_batch: int
    sequence_length: int
    needed_bytes: int  # the reserved peak, at the upper end of its interval
    fits: bool


def longest_batches(
    plan: Plan, model: ModelSpec, gpu: GpuSpec, padding: tuple[Padding, ...], estimator: Estimator
) -> tuple[LongestBatch, ...]:
    """The plan's way to train at each micro-batch, with its longest batch in every step: the worst that can come.

    A shape that can't be traced is left out.
    """
    shapes = [
        replace(
            plan.config,
            micro_batch=each.micro_batch,
            sequence_length=each.longest_batch_tokens // each.micro_batch,
            accumulation_steps=max(1, plan.config.effective_batch // each.micro_batch),
        )
        for each in padding
    ]
    estimator.prepare(model, shapes, gpu)
    found = []
    for config in shapes:
        try:
            needed = estimator.reserved(model, config, gpu).high
        except AdvisorError:
            continue
        found.append(
            LongestBatch(
                micro_batch=config.micro_batch,
                sequence_length=config.sequence_length,
                needed_bytes=needed,
                fits=needed <= plan.card.usable_bytes,
            )
        )
    return tuple(found)
