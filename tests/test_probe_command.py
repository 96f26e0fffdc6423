"""Stored probes, how people read them, and the command."""

import json
from dataclasses import replace

import pytest
import torch
from probe_parts import ROW, quick_probe
from rich.console import Console

from advisor.catalog.gpus import find_gpu
from advisor.commands import probe as command
from advisor.errors import AdvisorError, ExitCode
from advisor.profiles.probe import SCHEMA, probe_from_row, read_probes
from advisor.profiles.store import read_rows
from advisor.train.environment import environment
from bench.kernels.kernel import Place
from bench.probe_view import probe_view, rate

CPU = torch.device("cpu")
SMALL = Place(CPU, 1 / 64)


@pytest.fixture(scope="module")
def row():
    """A quick probe of the CPU, small."""
    return quick_probe()


def test_a_stored_probe_is_read(tmp_path):
    """By card and environment, oldest first; a median and the memory inside are computed on read."""
    path = tmp_path / "h200" / "torch2.13.0-abcdef" / "probe.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"quick": True}) + "\n")

    first, second = read_probes(tmp_path)
    found = next(first.find("matmul.bf16", m=2))

    assert ("h200", "torch2.13.0-abcdef") == (first.card, first.environment)
    assert (False, True) == (first.quick, second.quick)
    assert (0.5, 1024) == (found.median_seconds, found.inside_bytes)
    assert [] == list(first.find("matmul.bf16", m=3))


def test_a_line_that_a_killed_writer_left_is_passed_over(tmp_path):
    """It has no end; the rows before it are read."""
    path = tmp_path / "h200" / "torch" / "probe.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(ROW) + "\n" + '{"schema": 1, "kin')

    assert 1 == len(read_probes(tmp_path))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (json.dumps(ROW | {"schema": SCHEMA + 1}), "this version reads up to"),
        (json.dumps(ROW | {"kind": "measurement"}), "kind 'measurement'"),
        (json.dumps({"schema": 1, "kind": "probe"}), "benchmark_version"),
        ('{"schema": 1, "kin', "JSONDecodeError"),
        ("[1]", "TypeError"),
    ],
)
def test_a_row_that_is_no_probe_is_named(tmp_path, line, why):
    """A newer schema, another kind, half a line: file and line, and no guess."""
    path = tmp_path / "h200" / "torch" / "probe.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(ROW) + "\n" + line + "\n")

    with pytest.raises(AdvisorError) as caught:
        read_probes(tmp_path)

    assert ExitCode.ENVIRONMENT is caught.value.exit_code
    assert "probe.jsonl, line 2" in caught.value.what
    assert why in caught.value.why


def test_rates_have_the_unit_of_what_bounds_them():
    """Operations where there are many a byte, bytes where there are few, time where there are neither."""
    probed = probe_from_row(ROW, card="h200", environment="torch").kernels[0]
    many = {"flops": 10**12, "bytes": 10**9}
    rates = [
        rate(_with(probed, **each)) for each in (many, {"flops": 1, "bytes": 10**9}, {"flops": 0, "bytes": 0})
    ]

    assert ["2.0 TFLOP/s", "2 GB/s", "500,000.0 µs"] == rates


def _with(probed, **changes):
    return replace(probed, **changes)


def test_a_person_reads_memory_rates_and_what_is_missing(row):
    """Each figure by name; what could not be measured has its reason."""
    console = Console(width=200)
    with console.capture() as shown:
        console.print(probe_view(probe_from_row(ROW, card="NVIDIA H200", environment="")))
        console.print(probe_view(probe_from_row(row, card="CPU", environment="")))

    text = shown.get()
    assert "NVIDIA H200" in text
    assert "500.0 MiB" in text
    assert "cuBLAS workspace, forward" in text
    assert "GB/s" in text
    assert "sync.idle: needs a CUDA card" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_command_says_so():
    """Before anything is measured or written."""
    with pytest.raises(AdvisorError, match="no CUDA card") as caught:
        command.probe()

    assert ExitCode.ENVIRONMENT is caught.value.exit_code


def test_an_output_that_exists_is_kept(tmp_path):
    """Said before a minute is spent."""
    kept = tmp_path / "mine.json"
    kept.write_text("mine")

    with pytest.raises(AdvisorError, match="exists"):
        command.probe(output=kept)

    assert "mine" == kept.read_text()


def test_a_card_that_others_use_is_not_probed():
    """But with --shared, and then the row says so."""
    card = find_gpu("h200")[0]

    with pytest.raises(AdvisorError, match="Another process uses the NVIDIA H200"):
        command._refuse_others(card, _Busy(), shared=False)

    assert command._refuse_others(card, _Busy(), shared=True)


@pytest.fixture
def on_a_card(monkeypatch, row):
    """The command as on an idle H200, but that the figures are the CPU's."""
    facts = environment(CPU) | {"card": "NVIDIA H200", "driver": "580.1", "memory_bytes": 150_754_820_096}
    facts |= {"compute_capability": [9, 0], "cuda": "13.0"}
    monkeypatch.setattr(command, "_card", lambda _: find_gpu("h200")[0])
    times = iter(["2026-11-25T08:00:00Z", "2026-11-25T09:00:00Z"])
    again = json.dumps(row)
    monkeypatch.setattr(command, "_probed", lambda *_, **__: json.loads(again) | {"measured_at": next(times)})
    monkeypatch.setattr("advisor.train.environment.environment", lambda _: dict(facts))


def test_each_probe_is_a_row_of_its_own(on_a_card, tmp_path):
    """Beside the rows of the models of that card and environment, and never among them."""
    command.probe(profiles=tmp_path)
    command.probe(profiles=tmp_path)
    first, second = read_probes(tmp_path)

    assert ("2026-11-25T08:00:00Z", "2026-11-25T09:00:00Z") == (first.measured_at, second.measured_at)
    assert first.environment.startswith("torch")
    assert first.facts["shared"] is False
    assert (tmp_path / "h200" / first.environment / "environment.json").is_file()
    assert [] == list(read_rows(tmp_path))


def test_an_output_gets_the_row_and_the_store_does_not(on_a_card, tmp_path, capsys):
    """With the card and the facts of the environment, which its folder would have said; the same on stdout."""
    command.probe(output=tmp_path / "mine.json", profiles=tmp_path / "store", as_json=True)
    written = json.loads((tmp_path / "mine.json").read_text())

    assert "h200" == written["card"]
    assert "580.1" == written["environment"]["driver"]
    assert written == json.loads(capsys.readouterr().out)
    assert not (tmp_path / "store").exists()


class _Busy:
    """A card with another process on it."""

    def used_by_others(self, own_pid):
        return True
