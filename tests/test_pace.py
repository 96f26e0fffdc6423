"""Where a card's rates come from: its probe, its data sheet, or a judgement with a wide range."""

import json
from pathlib import Path

import pytest

from advisor.catalog.gpus import all_gpus, find_gpu
from advisor.pace import pace_of
from advisor.profiles.folders import profiles_folder


def test_a_probed_card_has_the_rates_of_its_probe() -> None:
    pace = pace_of(find_gpu("h100-80gb-sxm")[0])
    assert pace.probed
    assert 2.6e12 < pace.card.memory < 2.8e12  # nine tenths of copy.device, 1 GiB: 3.01 TB/s
    assert 5e10 < pace.card.host_bus < 5.5e10  # copy.host_to_device, pinned: 52 GB/s
    forward, backward = (pace.card.attention[f"attention.cudnn.{way}.128"] for way in ("forward", "backward"))
    assert 1 / forward.operation > 1 / backward.operation > 3e14
    assert backward.seconds(343597383680, 335544320) == pytest.approx(
        9.24e-4, rel=0.02
    )  # 4 x 2,048, as probed


def test_a_probe_of_the_user_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = [
        json.loads(path.read_text().splitlines()[0])
        for path in profiles_folder().glob("h100-80gb-sxm/*/probe.jsonl")
    ]
    row = max(probes, key=lambda each: str(each["measured_at"]))
    for kernel in row["kernels"]:
        if kernel["name"] in ("copy.device", "launch.layer_forward_backward") and kernel["seconds"]:
            kernel["seconds"] = [2 * s for s in kernel["seconds"]]
    mine = tmp_path / "h100-80gb-sxm" / "torch2.11.0-abcdef" / "probe.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text(json.dumps(row | {"measured_at": "2099-01-01T00:00:00Z"}) + "\n")
    before = pace_of(find_gpu("h100-80gb-sxm")[0])
    monkeypatch.setenv("ADVISOR_PROFILES", str(tmp_path))
    after = pace_of(find_gpu("h100-80gb-sxm")[0])
    assert after.card.memory == pytest.approx(before.card.memory / 2)
    assert after.host.step > 1.2 * before.host.step


def test_a_card_that_nobody_measured_has_a_wide_range() -> None:
    known, unknown = pace_of(find_gpu("t4")[0]), pace_of(find_gpu("rtx-4090")[0])
    assert not known.probed
    assert not unknown.probed
    assert unknown.high / unknown.low > known.high / known.low
    assert unknown.fast_host.step < unknown.host.step < unknown.slow_host.step


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.slug)
def test_every_card_has_a_pace_below_its_sheet(gpu) -> None:  # type: ignore[no-untyped-def]
    card = pace_of(gpu).card
    assert 0 < card.matmul <= gpu.matmul_flops_per_second
    assert 0 < card.memory <= gpu.bandwidth_bytes_per_second
