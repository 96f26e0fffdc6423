"""Rows for the tests of the accuracy report: numbers that are easy to check by hand."""

from dataclasses import replace

from advisor.records import Precision, TrainConfig
from bench.accuracy.compared import OWN, Accuracy, Compared, Figure, Verdict


def figure(measured, predicted, *, low=None, high=None):
    """One figure."""
    return Figure(measured_bytes=measured, predicted_bytes=predicted, low_bytes=low, high_bytes=high)


def compared(
    id_="a",
    *,
    source=OWN,
    card="h200",
    model="llama-3.2-1b",
    repeats="",
    phases=None,
    figures,
    largest_block_bytes=1,
    needed_bytes=None,
    outliers=False,
    **config,
):
    """One row that ran."""
    return Compared(
        id=id_,
        source=source,
        card=card,
        model=model,
        config=replace(TrainConfig(precision=Precision.BF16), **config),
        figures=figures,
        phases=phases or {},
        repeats=repeats,
        largest_block_bytes=largest_block_bytes,
        needed_bytes=needed_bytes or {},
        outliers=outliers,
    )


def verdict(outcome, *, room, minimum):
    """One row that fits or does not."""
    return Verdict(
        id="v",
        source=OWN,
        card="h200",
        model="llama-3.2-1b",
        config=TrainConfig(),
        outcome=outcome,
        room_bytes=room,
        minimum_bytes=minimum,
    )


def accuracy(*rows, verdicts=(), left_out=()):
    """A report of those rows."""
    return Accuracy(compared=rows, verdicts=tuple(verdicts), left_out=tuple(left_out))
