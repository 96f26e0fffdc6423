"""Liger: where it is refused, and what a trace with it leaves behind."""

import sys

import pytest
import torch
import transformers.models.llama.modeling_llama as llama
from simulate_parts import facts, traced

from advisor.errors import AdvisorError
from advisor.records import Loss, TrainConfig
from advisor.step import liger
from advisor.tape.store import TapeStore
from advisor.tape.versions import PACKAGES, installed_version

_CONFIG = TrainConfig(
    micro_batch=1, sequence_length=300, loss=Loss.LIGER, lora_targets=("q_proj", "down_proj")
)
_CARD = torch.device("cuda")


def test_it_is_refused_without_a_card():
    """Its kernels run on none but a GPU."""
    with pytest.raises(AdvisorError, match="needs an NVIDIA card"):
        liger.check_loss(Loss.LIGER, torch.device("cpu"))
    liger.check_loss(Loss.STOCK, torch.device("cpu"))


def test_it_is_refused_without_its_package(monkeypatch):
    """With what to install."""
    monkeypatch.setattr(liger, "is_liger_kernel_available", lambda: False)
    with pytest.raises(AdvisorError, match="needs the package liger-kernel") as refused:
        liger.check_loss(Loss.LIGER, _CARD)

    assert "pip install" in refused.value.fix


def test_a_model_without_kernels_is_refused():
    """transformers would train it without them."""
    other = facts("gpt_neox", num_hidden_layers=2, hidden_act="gelu")
    with pytest.raises(AdvisorError, match="no kernels for a 'gpt_neox'"):
        traced(
            other, TrainConfig(micro_batch=1, sequence_length=300, loss=Loss.LIGER, lora_targets=("dense",))
        )


def test_a_trace_leaves_nothing_behind():
    """Neither in transformers' modules nor among the imported ones; a stock trace after it is as before."""
    stock = TrainConfig(micro_batch=1, sequence_length=300, lora_targets=("q_proj", "down_proj"))
    before, rotary = traced(facts(), stock), llama.apply_rotary_pos_emb
    tape = traced(facts(), _CONFIG)

    assert tape.versions["liger-kernel"] == installed_version("liger-kernel")
    assert llama.apply_rotary_pos_emb is rotary
    assert not any(name.partition(".")[0] == "liger_kernel" for name in sys.modules)
    assert traced(facts(), stock) == before
    assert set(before.versions) == set(PACKAGES)


def test_a_tape_of_another_liger_is_not_current():
    """So an upgrade of it is traced again."""
    tape = traced(facts(), _CONFIG)
    old = type(tape)(
        **{name: getattr(tape, name) for name in type(tape).__dataclass_fields__}
        | {"versions": tape.versions | {"liger-kernel": "0.1"}}
    )
    store = TapeStore()

    assert store._is_current(tape, _CONFIG)
    assert not store._is_current(old, _CONFIG)
