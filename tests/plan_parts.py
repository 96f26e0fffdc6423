"""What several tests of plans need: a clock that is simple enough to check a choice by hand."""

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.plan.lanes import PlanOptions, lanes
from advisor.plan.planner import open_search
from advisor.records import Checkpointing, Interval, Precision

_UNPACKED = (Precision.NF4, Precision.NF4_SINGLE, Precision.INT8)


def fake_clock(model, config, gpu):
    """Seconds of a step: arithmetic, once more where layers are recomputed; weights read (and unpacked) each pass;
    a fixed cost a pass; nothing else."""
    layers = model.config["num_hidden_layers"]
    recomputed = 0 if config.checkpointing is Checkpointing.NONE else config.checkpointed_layers or layers
    passes = 6 + 2 * recomputed / layers
    tokens = config.micro_batch * config.sequence_length
    arithmetic = passes * model.parameters * tokens / (0.45 * gpu.matmul_flops_per_second)
    moved = model.parameters * (12 if config.precision in _UNPACKED else 4) / gpu.bandwidth_bytes_per_second
    seconds = config.accumulation_steps * (arithmetic + moved + 0.05)
    return Interval(value=seconds, low=0.9 * seconds, high=1.1 * seconds)


def search_for(estimator, gpu, model, options=None, clock=fake_clock):
    """A search that has looked at nothing, and the lanes that it may open."""
    options = options or PlanOptions()
    card = find_gpu(gpu)[0]
    spec = find_model(model)[0]
    return open_search(spec, card, options, estimator, clock), lanes(card, options, spec)
