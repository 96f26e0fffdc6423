"""The smallest memory cap under which a step runs: the truth for "does it fit"."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from advisor.profiles.record import SmallestCap
from bench.request import Request

Measure = Callable[[Request], dict[str, Any]]
_SEGMENT_BYTES = 2 << 20  # caps are asked for in whole small segments of torch's allocator
_RESOLUTION = 0.005  # of the peak; and never finer than the allocator's large segments
_LARGE_SEGMENT_BYTES = 20 << 20


def find_smallest_cap(
    request: Request, free: dict[str, Any], measure: Measure, *, guess_bytes: int | None = None
) -> SmallestCap | None:
    """Bisects between the two peaks of an uncapped run; each trial is one fresh process under a cap.

    `free` is the answer of that run. At its reserved peak the step runs, below its allocated peak nothing can. `guess_bytes`,
    a predicted smallest cap, is tried first and saves trials where it is right. None where a trial fails for another reason.
    """
    allocated, reserved = free["peak_allocated_bytes"], free["peak_reserved_bytes"]
    step = max(_LARGE_SEGMENT_BYTES, int(_RESOLUTION * reserved))
    trials: dict[int, int | None] = {}

    def retries(cap_bytes: int) -> int | None:
        """Retries under the cap; None where the step ran out of memory."""
        if cap_bytes not in trials:
            trials[cap_bytes] = _retries(measure(replace(request, cap_bytes=cap_bytes)))
        return trials[cap_bytes]

    try:
        with_retries = _bisect(allocated, reserved, step, lambda cap: retries(cap) is not None, guess_bytes)
        without = _bisect(with_retries - step, reserved, step, lambda cap: retries(cap) == 0, with_retries)
    except _OtherFailureError:
        return None
    return SmallestCap(without_retries_bytes=without, with_retries_bytes=with_retries, resolution_bytes=step)


class _OtherFailureError(Exception):
    """A trial ended neither well nor out of memory."""


def _retries(answer: dict[str, Any]) -> int | None:
    if answer["outcome"] == "oom":
        return None
    if answer["outcome"] != "ok":
        raise _OtherFailureError
    return int(answer["alloc_retries"])


def _bisect(low: int, high: int, step: int, runs: Callable[[int], bool], guess_bytes: int | None) -> int:
    """The smallest cap that runs, to within `step`, from above; `low` is taken not to run, `high` to run."""
    near, stride = guess_bytes, step  # from a guess in strides that double, then by halves
    while high - low > step:
        if near is not None and not low < near < high:
            near = None
        middle = (low + high) // 2 if near is None else near
        middle = max(middle - middle % _SEGMENT_BYTES, low + 1)
        if runs(middle):
            high, onward = middle, -stride
        else:
            low, onward = middle, stride
        near = None if near is None else middle + onward
        stride *= 2
    return high
