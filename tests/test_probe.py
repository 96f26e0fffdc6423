"""The probe: its kernels, its row, and what it says where something can't be measured."""

import json
import time

import pytest
import torch
from probe_parts import quick_probe

from advisor.profiles.probe import probe_from_row
from bench.kernels.inside import inside
from bench.kernels.kernel import Kernel, Place, UnsupportedError
from bench.kernels.suite import run_kernel, suite
from bench.kernels.timing import SAMPLES, rhythm, samples
from bench.probe import Budget, probe
from bench.workspaces import Beyond, cublas_workspaces

CPU = torch.device("cpu")
SMALL = Place(CPU, 1 / 64)
FULL = Place(CPU)
FAMILIES = {
    *("launch", "sync", "copy", "matmul", "dequantise", "quantise", "linear", "attention"),
    *("elementwise", "norm", "embedding", "softmax", "cross_entropy", "optimizer"),
}


@pytest.fixture(scope="module")
def row():
    """A quick probe of the CPU, small."""
    return quick_probe()


def kernel(make, **more) -> Kernel:
    """A kernel of that call."""
    return Kernel(name="a.kernel", sizes={}, make=make, **more)


def test_the_suite_has_every_family():
    """And each kernel once at each size."""
    kernels = suite(FULL)

    assert len(kernels) > 300
    assert {each.name.split(".")[0] for each in kernels} == FAMILIES
    assert len(kernels) == len({(each.name, tuple(each.sizes.items())) for each in kernels})


def test_the_most_telling_kernels_come_first():
    """Who runs out of time has them; a quick probe has them alone, and every family but what none would miss."""
    every, quick = suite(FULL), suite(FULL, quick=True)

    assert 20 < len(quick) < 60
    assert [each.name for each in quick] == [each.name for each in every[: len(quick)]]
    assert FAMILIES - {each.name.split(".")[0] for each in quick} == {"quantise", "embedding"}


def test_every_kernel_says_what_it_does():
    """Operations or bytes, but for the host's."""
    for each in suite(FULL):
        assert each.host or each.flops > 0 or each.bytes > 0


def test_a_products_work_is_known():
    """2 x 2048 x 4096 x 14336 operations, and in 16 bits three matrices."""
    sizes = {"m": 2048, "k": 4096, "n": 14336, "layout": "nt"}
    found = [each for each in suite(FULL) if each.name == "matmul.bf16" and each.sizes == sizes]

    assert [2 * 2048 * 4096 * 14336] == [each.flops for each in found]
    assert [2 * (2048 * 4096 + 4096 * 14336 + 2048 * 14336)] == [each.bytes for each in found]


def test_a_causal_attention_counts_half():
    """Two products of 4 x 32 heads of 2048 x 2048 x 128, half of each; five in the backward pass."""
    sizes = {"batch": 4, "heads": 32, "key_heads": 8, "tokens": 2048, "head_size": 128}
    found = {e.name: e.flops for e in suite(FULL) if sizes.items() <= e.sizes.items() and "flash" in e.name}
    product = 2 * 4 * 32 * 2048 * 2048 * 128 // 2

    assert {"attention.flash.forward": 2 * product, "attention.flash.backward": 5 * product} == found


def test_products_are_what_their_layout_says():
    """Each layout multiplies to the sizes that its row states."""
    for each in suite(SMALL):
        if each.name == "matmul.fp32":
            assert (each.sizes["m"], each.sizes["n"]) == tuple(each.make()().shape)


def test_unpacked_weights_are_near_those_that_were_packed():
    """The kernels run bitsandbytes, and give whole weights in the card's dtype."""
    for each in suite(SMALL):
        if each.name.startswith("dequantise"):
            weight = each.make()()
            assert (each.sizes["n"], each.sizes["k"]) == tuple(weight.shape)
            assert torch.bfloat16 == weight.dtype
            assert 1.0 == pytest.approx(weight.float().std().item(), rel=0.1)


def test_backward_kernels_give_gradients():
    """Of the shape of what they are gradients of."""
    backward = {
        e.name: e for e in suite(SMALL) if e.name.startswith("linear") and e.name.endswith("backward")
    }

    assert {f"linear.{kind}.backward" for kind in ("nf4", "int8", "int8_outliers")} == set(backward)
    for each in backward.values():
        assert (each.sizes["m"], each.sizes["k"]) == tuple(each.make()()[0].shape)


def test_weights_leave_the_cache_before_they_return(monkeypatch):
    """With 1,000 bytes of L2, 100 bytes a call come back after 2,000 bytes of others."""
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: type("Properties", (), {"L2_cache_size": 1000})
    )
    made = iter(range(100))

    turn = Place(torch.device("cuda", 0)).cycled(made.__next__, moved_bytes=100)

    assert [*range(21), 0, 1] == [turn() for _ in range(23)]


def test_a_card_without_bf16_says_so(monkeypatch):
    """Its emulation is not measured as if it were the card's; half is fp16 there."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    place = Place(torch.device("cuda", 0))
    product = next(each for each in suite(place) if each.name == "matmul.bf16")

    assert "no native bf16 on this card" == run_kernel(product, place, 0.001)["reason"]
    assert "fp16" == place.half


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("tried to allocate"), "out of memory"),
        (UnsupportedError("needs a CUDA card"), "needs a CUDA card"),
        (
            RuntimeError("CUDA error: no kernel image\nCompile with"),
            "RuntimeError: CUDA error: no kernel image",
        ),
        (ImportError("no bitsandbytes"), "ImportError: no bitsandbytes"),
        (OSError("/home/me/lib/libx.so.1: not found"), "OSError: <path>: not found"),
    ],
)
@pytest.mark.parametrize("when", ["make", "call"])
def test_what_a_card_can_not_do_is_a_reason(error, reason, when):
    """No seconds and no crash, whether it fails at making its tensors or at running."""

    def fail():
        raise error

    found = run_kernel(kernel(fail if when == "make" else lambda: fail), SMALL, 0.001)

    assert (None, reason) == (found["seconds"], found["reason"])


def test_a_call_is_timed_by_what_it_takes():
    """Five samples near the 2 ms that it sleeps, within a budget of 20 ms."""
    took = samples(kernel(lambda: None), lambda: time.sleep(0.002), CPU, budget_seconds=0.02)

    assert SAMPLES == len(took)
    assert all(0.002 <= seconds < 0.02 for seconds in took)


def test_a_budget_bounds_the_calls():
    """1 ms a call, 50 ms in five samples: at most ten calls each; a slow call is timed once."""
    slow = rhythm(lambda: time.sleep(0.3), CPU, 0.05)

    assert 1 < rhythm(lambda: time.sleep(0.001), CPU, 0.05).calls <= 10
    assert (1, 1) == (slow.samples, slow.calls)


def test_without_a_card_nothing_is_said_of_its_memory():
    """Unknown, not zero."""
    assert None is inside(lambda: torch.ones(100), CPU)
    assert {} == cublas_workspaces(CPU)


def test_memory_inside_is_the_peak_less_what_stays(monkeypatch):
    """Of 1,000 bytes at the peak 400 are the result's; frees that were only asked for are no events."""
    allocated = iter([5000, 5400])
    history = [("alloc", 600), ("alloc", 400), ("free_requested", 600), ("free_completed", 600)]
    trace = [{"action": action, "size": size} for action, size in history]
    recording = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: next(allocated))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 6000)
    monkeypatch.setattr(
        torch.cuda.memory, "_record_memory_history", lambda enabled, **_: recording.append(enabled)
    )
    monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda _: {"device_traces": [[], trace]})

    found = inside(lambda: None, torch.device("cuda", 1))

    assert (1000, 400, 600) == (found.peak_bytes, found.result_bytes, found.inside_bytes)
    assert (600, 400, -600) == found.events
    assert ["all", None] == recording


def test_growth_is_what_the_allocator_does_not_have(monkeypatch):
    """700 bytes used of which 500 are reserved, then 1,000 of which 600 are: 200, then 200 more."""
    used, reserved = iter([700, 1000]), iter([500, 600])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2000 - next(used), 2000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: next(reserved))
    beyond = Beyond(torch.device("cuda", 0), None)

    assert [200, 200] == [beyond.growth_bytes(), beyond.growth_bytes()]
    assert "cuda" == beyond.source


def test_a_probe_is_one_row_of_plain_json(row):
    """It reads back to the same figures, and names neither host, user nor path."""
    found = probe_from_row(json.loads(json.dumps(row)), card="h200", environment="torch")

    assert len(suite(SMALL, quick=True)) == len(found.kernels)
    assert row["kernels"][0]["seconds"] == list(found.kernels[0].seconds)
    assert "/" not in json.dumps(row["facts"])


def test_all_that_a_cpu_can_run_is_measured(row):
    """What needs a card says so; the rest has seconds and no reason."""
    missing = {each["name"] for each in row["kernels"] if each["reason"]}
    measured = {each["name"] for each in row["kernels"] if each["seconds"]}

    assert {"sync.idle", "copy.host_to_device", "copy.device_to_host"} <= missing
    assert {"matmul.bf16", "matmul.fp32", "linear.nf4.backward", "optimizer.adamw_fused"} <= measured
    assert not missing & measured


def test_a_probe_leaves_torch_as_it_was(row):
    """The precision of fp32 products among it."""
    torch.set_float32_matmul_precision("high")
    try:
        probe(SMALL, None, quick=True, budget=Budget(suite_seconds=-1))
        assert "high" == torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision("highest")


def test_what_there_is_no_time_for_says_so():
    """The probe ends in time on any card, and tells what it left out."""
    found = probe(SMALL, None, quick=True, budget=Budget(suite_seconds=-1))

    assert {"no time left"} == {each["reason"] for each in found["kernels"]}
