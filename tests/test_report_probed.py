"""What a probe found, in a card's report: memory beside the catalog's, rates beside the data sheet's."""

from dataclasses import replace

import pytest
from report_parts import measured, synthetic_card

from advisor.pictures.document import Missing
from advisor.profiles.probe import Probe, ProbedKernel
from bench.report.build import build
from bench.report.probed import probed

FACTS = {
    "driver_bytes": 400 << 20,
    "others_bytes": None,
    "context_bytes": 500 << 20,
    "cublas_workspace_bytes": {"forward": 32 << 20, "with_bias": 1 << 20},
    "module_bytes": {"matmul": 60 << 20},
    "shared": False,
}


def kernel(name, *, seconds=0.001, flops=0, moved=0, **sizes):
    """One that was measured; `moved` bytes."""
    told = {"peak_bytes": None, "result_bytes": None, "allocator_events": None, "module_bytes": None}
    samples = None if seconds is None else (seconds,)
    return ProbedKernel(name=name, sizes=sizes, seconds=samples, flops=flops, bytes=moved, reason="", **told)


KERNELS = (
    kernel("launch.add", seconds=12e-6),
    kernel("copy.device", seconds=0.001, moved=1 << 20, bytes=1 << 19),
    kernel("copy.device", seconds=0.001, moved=2_400_000_000, bytes=1_200_000_000),
    kernel("copy.host_to_device", moved=1 << 26, bytes=1 << 26, host="pinned"),
    kernel("matmul.bf16", flops=494_500_000_000, moved=1 << 26, m=2048),
    kernel("matmul.fp32", flops=50_000_000_000, moved=1 << 26, m=2048),
    kernel("attention.flash.forward", seconds=None, flops=1 << 40, moved=1 << 20, dtype="bf16"),
)


def card(**facts):
    """An H200 of one row, probed once."""
    probe = Probe(
        card="h200",
        environment="torch2.11.0-synthetic",
        benchmark_version=1,
        measured_at="2026-11-25T10:00:00Z",
        quick=False,
        facts=FACTS | facts,
        kernels=KERNELS,
    )
    return replace(synthetic_card([measured()]), probes=(probe,))


def lines(table):
    """The cells of each row, by its first."""
    rows = [row for group in table.groups for row in group.rows]
    return {row[0].lines[0]: [" ".join(cell.lines) for cell in row[1:]] for row in rows}


def test_memory_stands_beside_what_predictions_take():
    """What nobody could read is left empty."""
    made = card()
    memory = lines(probed(made).blocks[0])

    assert memory["kept by the driver"][0] == "400.0 MiB"
    assert memory["held by others"] == ["", ""]
    assert memory["CUDA context"] == ["500.0 MiB", f"{made.card.context_bytes / (1 << 20):.1f} MiB"]
    assert memory["cuBLAS workspace, forward"][0] == "32.0 MiB"
    assert memory["loaded by matmul"] == ["60.0 MiB", ""]


def test_rates_are_of_the_largest_size_and_beside_the_data_sheet():
    """Only what the sheet has a number for is compared with it, and what was not measured is no line."""
    made = card()
    kernels = lines(probed(made).blocks[1])

    assert [group.title for group in probed(made).blocks[1].groups] == [
        "Launching, the host's time",
        "Copies",
        "Matrix products",
    ]
    assert kernels["launch.add"] == ["", "", "12.0 µs", "", ""]
    assert kernels["copy.device"][0] == "2,400 GB/s"
    assert kernels["copy.device"][1] == f"{2.4e12 / made.card.bandwidth_bytes_per_second:.0%}"
    assert kernels["copy.host_to_device"][1] == ""
    assert kernels["matmul.bf16"][1] == f"{494.5e12 / made.card.matmul_flops_per_second:.0%}"
    assert kernels["matmul.fp32"][:2] == ["50.0 TFLOP/s", ""]
    assert "attention.flash.forward" not in kernels


@pytest.mark.parametrize("made", [card(shared=True), replace(card(), probes=())])
def test_without_a_probe_that_counts_the_report_says_how_to_make_one(made):
    """One of a card that others used does not count."""
    assert isinstance(probed(made), Missing)
    absent = next(section for section in build(made).sections if section.name == "missing")
    assert "The card itself: no probe; `advisor probe` makes one." in absent.blocks[0].items
