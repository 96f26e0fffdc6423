"""The smallest memory caps that were found, beside those that the replay gives."""

from advisor.estimate import FINE, Estimator
from advisor.profiles.record import Measurement
from advisor.records import Estimate, GpuSpec, ModelSpec
from bench.accuracy.compared import Figure

WITH_RETRIES, WITHOUT_RETRIES = "cap with retries", "cap without retries"
_RESOLUTION_BYTES = 2 << 20  # the smallest segment that torch's allocator asks the driver for


def cap_figures(
    row: Measurement, estimate: Estimate, estimator: Estimator, model: ModelSpec, gpu: GpuSpec
) -> dict[str, Figure]:
    """Both caps of the row; none where none was searched for."""
    found = row.smallest_cap
    if found is None:
        return {}
    without = smallest_cap_without_retries(estimate, estimator, model, row, gpu)
    resolution = found.resolution_bytes
    return {
        WITH_RETRIES: _nearest(found.with_retries_bytes, estimate.minimum_reserved_bytes, resolution),
        WITHOUT_RETRIES: _nearest(found.without_retries_bytes, without, resolution),
    }


def smallest_cap_without_retries(
    estimate: Estimate, estimator: Estimator, model: ModelSpec, row: Measurement, gpu: GpuSpec
) -> int:
    """The smallest cap under which the replay runs and the allocator never empties its cache.

    It is searched between the smallest cap that runs and the reserved peak, and never given too low.
    """
    low, high = estimate.minimum_reserved_bytes - 1, estimate.peak_reserved_bytes.value
    for _ in range(FINE):
        if high - low <= _RESOLUTION_BYTES:
            break
        middle = (low + high) // 2
        outcome = estimator.outcome(model, row.config, gpu, cap_bytes=middle)
        if outcome.out_of_memory or outcome.retries:
            low = middle
        else:
            high = middle
    return high


def _nearest(measured: int, predicted: int, resolution: int) -> Figure:
    """The truth lies within the resolution below the cap that was found; what is nearest to the prediction counts."""
    return Figure(
        measured_bytes=min(measured, max(predicted, measured - resolution)), predicted_bytes=predicted
    )
