"""What a plan is to be best at."""

from enum import StrEnum

from advisor.plan.worth import worth
from advisor.records import TrainConfig


class Goal(StrEnum):
    """The question that a plan answers; every answer fits the card at the risk that was asked for."""

    QUALITY = "quality"  # tokens a second, weighed by what quantisation and few trainable weights may cost
    FASTEST = "fastest"
    CHEAPEST = "cheapest"  # on one card the fastest; among cards the least money
    LEAST_MEMORY = "least-memory"
    LONGEST_CONTEXT = "longest-context"
    LARGEST_BATCH = "largest-batch"


STRETCHED = {Goal.LONGEST_CONTEXT: "sequence_length", Goal.LARGEST_BATCH: "micro_batch"}


def score(goal: Goal, config: TrainConfig, tokens_per_second: float, needed_bytes: int) -> float:
    """The larger, the better; of two configs under the same goal."""
    if goal is Goal.QUALITY:
        return tokens_per_second * worth(config)
    if goal is Goal.LEAST_MEMORY:
        return float(-needed_bytes)
    return tokens_per_second
