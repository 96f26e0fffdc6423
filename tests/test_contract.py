"""The simulated device against real tensors: the same step, byte for byte.

`advisor.step.session.build` and `train` run twice with the same settings: for real, on CPU tensors and with
bitsandbytes' own CPU backend, while a dispatch mode follows every storage from its birth to its death; and on
the simulated device. Compared are, phase by phase over two optimizer steps, saving and an evaluation, the bytes that are alive when the
phase begins (so what the forward pass saved, what the backward pass left, what the optimizer keeps) and the
most that are alive within it.

What makes the two comparable, and what is left out:

* attention is eager and the loss is transformers' own or Liger's: a CPU and a CUDA card run other kernels for the fused
  attention and for TRL's tiles;
* inside a bitsandbytes op only what it gives is counted: its CPU and CUDA kernels have other buffers. The
  simulation calls those workspace, as it calls cuBLAS's; both are left out;
* a batch counts once it is on the device, not while the loader makes it;
* what is offloaded to the host would stay where it is on the CPU: here it is copied, and the copy that waits does
  not count, as the host's memory is not the card's;
* bitsandbytes' 8-bit code tables are made on the host: they count once they are copied to the device. The few words
  that a file holds of a 4-bit weight are made there too, and stay there;
* torch's own optimizers (but the fused one) work through lists of weights on a card, and not on the CPU;
* Liger's own Python runs on real tensors, without the Triton kernels that it launches, and takes the CPU for CUDA;
* peft asks whether autocast is on without naming a device, which means CUDA: here it means the CPU;
* bytes are those of storages, without the allocator's rounding.
"""

import logging
import tempfile
import weakref
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import accelerate.data_loader
import bitsandbytes.functional
import pytest
import torch
import transformers.modeling_utils
from bitsandbytes.optim.optimizer import Optimizer8bit
from simulate_parts import H200, facts, traced
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data.dataloader import _SingleProcessDataLoaderIter

import advisor.step.session
from advisor.records import (
    Attention,
    Autocast,
    Checkpointing,
    Loop,
    LoraVariant,
    Loss,
    Method,
    Precision,
    TrainConfig,
)
from advisor.simulate.liger import without_triton
from advisor.simulate.sums import is_in_place, unshared_holders
from advisor.step.data import random_blocks
from advisor.step.session import build
from advisor.step.trainer import RunOptions
from advisor.step.weights import Shaped, random_weights
from advisor.tape.events import Op

NONE, KEPT, AGAIN, OFF = Checkpointing  # offloaded: the last
CASES = [
    *({"precision": p, "checkpointing": c} for p in (Precision.BF16, Precision.NF4) for c in (NONE, KEPT)),
    {"precision": Precision.NF4, "checkpointing": AGAIN, "autocast": Autocast.NONE},
    {"precision": Precision.NF4, "loop": Loop.BARE, "kbit_prepare": True},
    {"accumulation_steps": 2, "adapter_dtype": "bf16"},
    {"method": Method.FULL},
    {"method": Method.FULL, "precision": Precision.FP32, "checkpointing": KEPT},
    {"method": Method.LAST_LAYERS, "trainable_layers": 1, "autocast": Autocast.NONE},
    {"precision": Precision.NF4, "checkpointing": KEPT, "checkpointed_layers": 1},
    {"checkpointing": AGAIN, "checkpointed_layers": 2, "loop": Loop.BARE},
    {"precision": Precision.NF4, "checkpointing": OFF, "accumulation_steps": 2},
    {"lora_variant": LoraVariant.DORA, "checkpointing": KEPT, "adapter_dtype": "bf16"},
    {"lora_variant": LoraVariant.DORA, "precision": Precision.NF4},
    {"lora_variant": LoraVariant.RSLORA, "autocast": Autocast.NONE},
    {"method": Method.FULL, "checkpointing": OFF, "checkpointed_layers": 2, "loop": Loop.BARE},
    {"loss": Loss.LIGER, "precision": Precision.NF4, "checkpointing": KEPT},
    {"loss": Loss.LIGER, "method": Method.FULL, "accumulation_steps": 2},
    *({"optimizer": name} for name in ("adafactor", "sgd", "adamw_8bit", "lion_8bit", "lion_32bit")),
]
_STEPS = 2
_MODEL = facts(num_hidden_layers=3, vocab_size=1003)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(value) for value in case.values()))
def test_the_simulation_is_the_step(case):
    """Every phase begins with the same bytes alive, and reaches the same peak."""
    config = TrainConfig(micro_batch=2, sequence_length=96, attention=Attention.EAGER, **case)
    simulated, real = _simulated(config), _real(config)

    assert len(real) >= 3 * _STEPS
    assert simulated == real


def _simulated(config):
    """Phase, bytes alive at its begin and at its peak, for each phase of the passes."""
    tape = traced(_MODEL, config, whole=True, exact=True)
    book = _Book()
    slots = {}
    for event in tape.events:
        if event.op == Op.PHASE:
            book.begin(tape.phases[event.a])
        elif event.op == Op.ALLOC and tape.labels[event.label].category != "workspace":
            slots[event.a] = tape.sizes[event.b].at(config.micro_batch, config.sequence_length, 0)
            book.change(slots[event.a])
        elif event.op == Op.FREE and event.a in slots:
            book.change(-slots.pop(event.a))
    return book.passes()


def _real(config):
    """The same of a run on the CPU."""
    meter = _Meter()
    rows = config.micro_batch * config.accumulation_steps * _STEPS
    with tempfile.TemporaryDirectory() as folder, _comparable(meter), meter:
        session = build(
            Shaped(_MODEL, random_weights()),
            config,
            RunOptions(output_dir=folder, max_steps=_STEPS),
            train_data=random_blocks(rows=rows, sequence_length=config.sequence_length, vocab=16),
            evaluation_data=random_blocks(
                rows=config.micro_batch, sequence_length=config.sequence_length, vocab=16
            ),
            device=torch.device("cpu"),
            observer=meter,
        )
        session.train()
        session.save(Path(folder) / "saved", base_name="tiny")
        session.evaluate()
    return meter.book.passes()


class _Book:
    """Bytes alive, and the peak of each phase."""

    def __init__(self):
        self.alive = 0
        self.phases = []

    def begin(self, phase):
        self.phases.append([phase, self.alive, self.alive])

    def change(self, count):
        self.alive += count
        if self.phases:
            self.phases[-1][2] = max(self.phases[-1][2], self.alive)

    def passes(self):
        return [tuple(phase) for phase in self.phases if phase[0] not in ("load", "prepare")]


class _Meter(TorchDispatchMode):
    """Follows the storages of real tensors; also the observer of the step's phases."""

    def __init__(self):
        super().__init__()
        unshared_holders()  # found out before this mode watches
        self.book = _Book()
        self.watching = True
        self._lives = {}

    def mark(self, phase):
        self.book.begin(phase.value)

    def weight(self, name):
        pass

    def step_ended(self):
        pass

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if is_in_place(func, args):  # as the engine would do without this mode
            return args[0].add_(args[1])
        result = func(*args, **(kwargs or {}))
        if self.watching:
            self.follow(result)
        return result

    def follow(self, result):
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._lives and storage.nbytes():
                    self._begin(storage, storage._cdata, storage.nbytes())

    def _begin(self, storage, key, count):
        def died(_):
            del self._lives[key]
            self.book.change(-count)

        self._lives[key] = weakref.ref(storage, died)
        self.book.change(count)


@contextmanager
def _comparable(meter):
    """See the module's docstring: batches count on arrival, and the CPU is the device that is meant."""
    load, send = _SingleProcessDataLoaderIter._next_data, accelerate.data_loader.send_to_device
    is_on = torch.is_autocast_enabled

    def loaded(loader):
        meter.watching = False
        try:
            return load(loader)
        finally:
            meter.watching = True

    def sent(batch, *args, **kwargs):
        arrived = send(batch, *args, **kwargs)
        meter.follow(dict(arrived))
        return arrived

    with ExitStack() as stack:
        for owner, name, new in (
            (_SingleProcessDataLoaderIter, "_next_data", loaded),
            (accelerate.data_loader, "send_to_device", sent),
            (torch, "is_autocast_enabled", lambda device="cpu": is_on(device)),
            (transformers.modeling_utils, "save_on_cpu", _offloading(meter)),
            (Optimizer8bit, "fill_qmap", _host_tables(meter)),
            (bitsandbytes.functional, "pack_dict_to_tensor", lambda _: torch.empty(0, dtype=torch.uint8)),
            (bitsandbytes.functional, "name2qmap", {}),  # tables that it keeps for the process
        ):
            stack.enter_context(mock.patch.object(owner, name, new))
        stack.enter_context(_liger_on_cpu())
        yield


def _offloading(meter):
    def pack(tensor):
        meter.watching = False
        try:
            return tensor.clone()
        finally:
            meter.watching = True

    return lambda **_: saved_tensors_hooks(pack, torch.clone)


class _OnHost:
    """A table in the host's memory; to be used it is copied to the device."""

    def __init__(self, table):
        self.table = table

    def to(self, _):
        return self.table.clone()


def _host_tables(meter):
    fill = Optimizer8bit.fill_qmap

    def filled(optimizer):
        meter.watching = False
        try:
            fill(optimizer)
        finally:
            meter.watching = True
        for name, table in optimizer.name2qmap.items():
            optimizer.name2qmap[name] = _OnHost(table)

    return filled


@contextmanager
def _liger_on_cpu():
    card = {
        "get_device_capability": lambda *_: H200.compute_capability,
        "get_device_properties": lambda *_: SimpleNamespace(multi_processor_count=H200.multiprocessors),
    }
    with ExitStack() as stack:
        # Who captures log records keeps what they hold: here an error, with the tensors of its frames.
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable()
        stack.enter_context(mock.patch.object(advisor.step.session, "check_loss"))
        for name, new in card.items():
            stack.enter_context(mock.patch.object(torch.cpu, name, new, create=True))
        yield stack.enter_context(without_triton("cpu", lambda _: None))
