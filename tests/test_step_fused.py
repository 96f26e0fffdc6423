"""Adapters fused into their layers: the same mathematics, less rounding, fewer copies."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from simulate_parts import facts, traced
from torch import nn
from train_parts import one_thread

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError
from advisor.fast_adapters import may_fuse_adapters
from advisor.records import Autocast, Checkpointing, LoraVariant, Method, Precision, TrainConfig
from advisor.step.adapt import adapt
from advisor.step.data import random_blocks
from advisor.step.fused import fuse_adapters
from advisor.step.load import load_model
from advisor.step.observe import Unobserved
from advisor.step.session import build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Checkpoint
from advisor.tape.events import Op
from advisor.tape.regime import regime_of
from advisor.tape.target import Target

CPU = torch.device("cpu")
CONFIG = TrainConfig(micro_batch=2, sequence_length=32)
WAYS = [
    {"precision": Precision.BF16},
    {"precision": Precision.BF16, "lora_variant": LoraVariant.RSLORA},
    {"precision": Precision.BF16, "checkpointing": Checkpointing.NON_REENTRANT},
    {"precision": Precision.NF4, "checkpointing": Checkpointing.REENTRANT},
    {"precision": Precision.NF4},
    {"precision": Precision.FP32, "autocast": Autocast.NONE},
]


def _session(folder, config, steps):
    torch.manual_seed(0)
    return build(
        Checkpoint(str(MODEL_FOLDER)),
        config,
        RunOptions(output_dir=str(folder), max_steps=steps, learning_rate=3e-3),
        train_data=random_blocks(rows=2 * steps, sequence_length=config.sequence_length, vocab=4096),
        device=CPU,
        observer=Unobserved(),
    )


def _learned(session):
    return {name: p.detach().clone() for name, p in session.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(str(v) for v in way.values()))
def test_it_learns_what_peft_learns(tmp_path, way):
    """After three steps each adapter has gone the same way, to the rounding of the dtype."""
    config = (
        replace(CONFIG, cast_adapter_inputs=False, **way) if "autocast" not in way else replace(CONFIG, **way)
    )
    learned = []
    for fused in (False, True):
        session = _session(tmp_path / str(fused), replace(config, fused_adapters=fused), 3)
        before = _learned(session)
        with one_thread():
            session.train()
        learned.append((before, _learned(session)))
    (before, theirs), (same, ours) = learned

    exact = config.precision is Precision.FP32
    for name, value in theirs.items():
        assert torch.equal(before[name], same[name])
        step, other = value - before[name], ours[name] - before[name]
        near = torch.nn.functional.cosine_similarity(step.flatten(), other.flatten(), dim=0)
        assert near > (0.9999 if exact else 0.9), name


def _layer(dtype):
    torch.manual_seed(1)
    lora = LoraConfig(r=8, lora_alpha=24, target_modules=["0"], init_lora_weights=False)
    return get_peft_model(
        nn.Sequential(nn.Linear(96, 160, bias=True)).to(dtype), lora, autocast_adapter_dtype=False
    )


def _passed(model, x):
    x = x.clone().requires_grad_()
    y = model(x)
    y.float().square().sum().backward()
    grads = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
    return {"y": y.detach().double(), "x": x.grad.double()} | grads


def test_it_is_nearer_to_the_truth_than_peft():
    """In bf16, against fp64: one rounding for the sum in place of three; the gradients within the same few roundings."""
    x = torch.randn(64, 96, generator=torch.Generator().manual_seed(2)).bfloat16()
    truth = _passed(_layer(torch.bfloat16).double(), x.double())
    theirs = _passed(_layer(torch.bfloat16), x)
    fused = _layer(torch.bfloat16)
    assert fuse_adapters(fused) == 1
    ours = _passed(fused, x)

    def error(result, name):
        return float((result[name] - truth[name]).norm() / truth[name].norm())

    assert error(ours, "y") < 0.9 * error(theirs, "y")
    assert error(ours, "x") < error(theirs, "x")
    for name in truth:
        assert error(ours, name) < 1.1 * error(theirs, name) < 0.02, name


def test_it_is_peft_where_there_is_more_to_do():
    """Dropout, DoRA, a merged or disabled adapter, and an input of another dtype go PEFT's way: bit for bit."""
    x = torch.randn(64, 96, generator=torch.Generator().manual_seed(2)).bfloat16()
    plain, fused = _layer(torch.bfloat16), _layer(torch.bfloat16)
    fuse_adapters(fused)
    assert not torch.equal(plain(x), fused(x))
    with plain.disable_adapter(), fused.disable_adapter():
        assert torch.equal(plain(x), fused(x))
    for model in (plain, fused):
        model.merge_adapter()
    assert torch.equal(plain(x), fused(x))
    for model in (plain, fused):
        model.unmerge_adapter()
        model.base_model.model[0].base_layer.float()
    assert torch.equal(plain(x.float()), fused(x.float()))


def test_only_plain_lora_can_be_fused():
    """Asked for where PEFT's own way is needed it is refused, with the reason."""
    for change in (
        {"lora_dropout": 0.1},
        {"lora_variant": LoraVariant.DORA},
        {"precision": Precision.INT8},
        {"method": Method.FULL},
    ):
        config = replace(CONFIG, fused_adapters=True, **change)
        assert not may_fuse_adapters(config)
        model = load_model(Checkpoint(str(MODEL_FOLDER)), CONFIG, CPU, Unobserved())
        with pytest.raises(AdvisorError, match="can't be fused"):
            adapt(model, config)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.NF4])
def test_fewer_copies_and_sums_by_a_trace(precision):
    """For each adapter: no scaled copy and no sum, forward and backward, and no copy of a 4-bit layer's result."""
    config = TrainConfig(
        precision=precision,
        micro_batch=2,
        sequence_length=1000,
        cast_adapter_inputs=precision is Precision.NF4,
    )
    launched = []
    for fused in (False, True):
        tape = traced(facts("llama"), replace(config, fused_adapters=fused))
        launched.append([tape.kernels[event.a].kind for event in tape.events if event.op is Op.KERNEL])
    theirs, ours = launched

    assert ours.count("matmul") == theirs.count("matmul")
    assert ours.count("elementwise") < theirs.count("elementwise")
    assert ours.count("copy") <= theirs.count("copy") - (20 if precision is Precision.NF4 else 0)


def test_without_adapters_it_is_the_same_tape():
    """A full fine-tune has nothing to fuse."""
    target, model = Target((9, 0), 132), facts("llama")
    keys = [
        regime_of(config, model).key(config, target)
        for config in (TrainConfig(method=Method.FULL), TrainConfig(method=Method.FULL, fused_adapters=True))
    ]
    assert keys[0] == keys[1]
