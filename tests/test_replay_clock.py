"""The clock: what a step launches, and how long that keeps the card and the host."""

from collections import Counter
from dataclasses import fields, replace

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.estimate import Estimator
from advisor.records import Checkpointing, Loss, Precision, TrainConfig
from advisor.replay.clock import AttentionPace, CardPace, HostPace, kernel_seconds, step_time
from advisor.replay.work import BACKWARD, FORWARD, OPTIMIZER, Sized, at_shape, work
from advisor.tape.events import Op
from advisor.tape.record import Tape, unroll
from advisor.tape.store import TapeStore, wanted

CARD = CardPace(
    matmul=100.0,
    matmul_fp32=10.0,
    matmul_int8=200.0,
    memory=50.0,
    cached=100.0,
    triton=30.0,
    cache_bytes=10,
    copy=40.0,
    copy_cached=80.0,
    host_bus=5.0,
    dequantise=25.0,
    quantise=10.0,
    optimizer_8bit=20.0,
    attention={"attention.flash.forward.64": AttentionPace(1.5, 1 / 80, 0.0)},
    attention_share=0.5,
    floor_seconds=0.0,
    gap_seconds=0.0,
    int8_unseen=1.0,
)
NO_HOST = HostPace(**{f.name: 8.0 if f.name.startswith("overlap") else 0.0 for f in fields(HostPace)})
SHIPPED = TrainConfig(
    precision=Precision.NF4,
    checkpointing=Checkpointing.NON_REENTRANT,
    loss=Loss.CHUNKED,
    micro_batch=8,
    accumulation_steps=2,
    fused_adapters=True,
)


@pytest.fixture(scope="module")
def tape() -> Tape:
    model, gpu = find_model("0.5B")[0], find_gpu("h100-80gb-sxm")[0]
    return TapeStore(may_trace=False).get(wanted(model, SHIPPED, gpu))


def _unrolled(tape: Tape, micro_batch: int, sequence_length: int) -> dict[str, Counter[int]]:
    """Kernels of the last step's passes, counted one by one over the whole model."""
    tiles = max(0, tape.further_tiles(micro_batch, sequence_length))
    counts: dict[str, Counter[int]] = {}
    phase = ""
    for event in unroll(tape, tiles):
        if event.op == Op.PHASE:
            phase = tape.phases[event.a]
            counts[phase] = Counter()
        elif event.op == Op.KERNEL:
            counts[phase][event.a] += 1
    return counts


@pytest.mark.parametrize("shape", [(1, 2048), (8, 2048), (16, 2048)])
def test_the_work_is_that_of_the_whole_model(tape: Tape, shape: tuple[int, int]) -> None:
    sized = at_shape(work(tape), tape, *shape)
    whole = _unrolled(tape, *shape)
    for phase in (FORWARD, BACKWARD, OPTIMIZER):
        expected: Counter[tuple[str, int, int]] = Counter()
        for kernel, count in whole[phase].items():
            known = tape.kernels[kernel]
            values = [
                sum(size.at(*shape, tape.further_layers) for size in sizes)
                for sizes in (known.operations, known.moved)
            ]
            expected[known.kind, values[0], values[1]] += count
        found: Counter[tuple[str, int, int]] = Counter()
        for each in sized[phase]:
            found[each.kind, each.operations, each.moved_bytes] += each.count
        assert found == expected


def test_a_tape_tells_dequantisation_from_other_kernels(tape: Tape) -> None:
    forward = at_shape(work(tape), tape, 1, 2048)[FORWARD]
    layers, linears = 24, 7
    # One for the weight and one for its constants, which are quantised themselves.
    assert sum(k.count for k in forward if k.kind == "dequantise") == 2 * layers * linears
    assert any(k.kind.startswith("attention.cudnn.forward.64") for k in forward)


@pytest.mark.parametrize(
    ("kernel", "seconds"),
    [
        (Sized("matmul", 1, 300, 200), 5.0),  # 3 s of operations and 4 s of bytes, as the sides of a triangle
        (Sized("matmul.fp32", 1, 300, 0), 30.0),
        (Sized("elementwise", 1, 0, 100), 2.0),
        (Sized("elementwise", 1, 0, 10), 0.1),  # within the cache
        (Sized("copy", 1, 0, 100), 2.5),
        (Sized("copy", 1, 0, 8), 0.1),  # within the cache
        (Sized("host", 1, 0, 10), 2.0),
        (Sized("dequantise", 1, 0, 100), 4.0),
        (Sized("quantise", 1, 0, 100), 10.0),
        (
            Sized("attention.flash.forward.64", 1, 80, 40),
            2.5,
        ),  # what it takes at any size, and its operations
        (Sized("attention.other.forward.96", 1, 100, 50), 3.0),  # not probed: a share of the products' rate
    ],
)
def test_a_kernel_takes_what_its_rate_says(kernel: Sized, seconds: float) -> None:
    assert kernel_seconds(kernel, CARD) == pytest.approx(seconds)


def _step(**kernels: list[Sized]) -> dict[str, list[Sized]]:
    return {FORWARD: [], BACKWARD: [], OPTIMIZER: []} | kernels


def test_a_pass_takes_as_long_as_the_slower_of_card_and_host() -> None:
    step = _step(forward=[Sized("elementwise", 10, 0, 500)])
    slow_host = replace(NO_HOST, forward_other=30.0)
    assert step_time(step, CARD, NO_HOST, accumulation_steps=1).seconds == pytest.approx(100.0)
    assert step_time(step, CARD, slow_host, accumulation_steps=1).seconds == pytest.approx(300.0, rel=1e-3)


def test_int8_waits_for_the_card_in_every_layer() -> None:
    """So host and card overlap less; and its operators run kernels that a tape does not show."""
    step = _step(forward=[Sized("matmul.int8", 10, 200, 0)])
    host = replace(NO_HOST, forward_product=2.0, overlap_int8=1.0)
    assert step_time(step, CARD, host, accumulation_steps=1).seconds == pytest.approx(30.0)
    card = replace(CARD, int8_unseen=1.5)
    assert step_time(step, card, host, accumulation_steps=1).seconds == pytest.approx(35.0)


def test_gaps_lie_between_kernels() -> None:
    step = _step(forward=[Sized("elementwise", 10, 0, 500)])
    card = replace(CARD, gap_seconds=1.0)
    assert step_time(step, card, NO_HOST, accumulation_steps=1).seconds == pytest.approx(110.0)


def test_a_host_takes_so_many_times_as_long_for_everything() -> None:
    host = replace(NO_HOST, forward_other=2.0, step=1.0).times(3)
    assert (host.forward_other, host.step, host.overlap) == (6.0, 3.0, 8.0)


def test_accumulation_repeats_the_passes_and_not_the_optimizer() -> None:
    step = _step(forward=[Sized("elementwise", 1, 0, 50)], optimizer=[Sized("elementwise", 1, 0, 50)])
    once = step_time(step, CARD, NO_HOST, accumulation_steps=1).seconds
    assert step_time(step, CARD, NO_HOST, accumulation_steps=4).seconds == pytest.approx(once + 3.0)


def test_checkpointing_costs_the_host_its_forward_launches_again() -> None:
    forward = [Sized("matmul", 10, 0, 0)]
    step = _step(forward=forward, backward=[*forward, Sized("matmul", 20, 0, 0)])
    host = replace(NO_HOST, forward_product=1.0, backward_product=2.0, recomputed_non_reentrant=0.5)
    took = {
        kind: step_time(step, CARD, host, accumulation_steps=1, checkpointing=kind).host_seconds
        for kind in ("none", "reentrant", "non-reentrant")
    }
    assert took == {"none": 10 + 60, "reentrant": 10 + 10 + 40, "non-reentrant": 10 + 10 + 5 + 40}


def test_an_estimate_tells_the_time_where_it_knows_the_card() -> None:
    model, gpu = find_model("0.5B")[0], find_gpu("h100-80gb-sxm")[0]
    estimator = Estimator(TapeStore(may_trace=False))
    told = estimator.estimate(model, SHIPPED, gpu)
    assert told.step_seconds is not None
    assert told.tokens_per_second is not None
    assert told.step_seconds.low < told.step_seconds.value < told.step_seconds.high
    assert told.tokens_per_second.value == pytest.approx(SHIPPED.tokens_per_step / told.step_seconds.value)
    assert told.tokens_per_second.low < told.tokens_per_second.value < told.tokens_per_second.high
    longer = estimator.step_seconds(model, replace(SHIPPED, accumulation_steps=8), gpu)
    assert (
        3 < longer.value / told.step_seconds.value < 4.2
    )  # the micro-batches after the first also add to gradients
