"""The simulated card writes down what a card would do: which ops allocate, which launch, when memory dies."""

import pytest
import torch
from simulate_parts import H200, facts, traced

from advisor.records import Method, Precision, TrainConfig
from advisor.simulate import recall
from advisor.simulate.device import simulated_device
from advisor.simulate.parts import Parts
from advisor.simulate.patches import simulated_libraries
from advisor.simulate.recorder import Recorder
from advisor.simulate.sizes import Symbols
from advisor.step.observe import Phase
from advisor.tape.events import Op
from advisor.tape.record import Size


@pytest.fixture
def card():
    """A card in its forward pass, of batch 13 and 229 tokens."""
    recorder = Recorder(H200, Symbols(13, 229), 5003, Parts(4))
    recorder.mark(Phase.FORWARD)
    return recorder


def _happened(card):
    """Allocated bytes and freed bytes in order, and `run` for each kernel."""
    sizes, happened = {}, []
    for event in card.ledger.events:
        if event.op == Op.ALLOC:
            sizes[event.a] = card.ledger.sizes.items[event.b].at(13, 229, 0)
            happened.append(sizes[event.a])
        elif event.op == Op.FREE:
            happened.append(-sizes[event.a])
        elif event.op == Op.KERNEL:
            happened.append("run")
    return happened


def _ones(*shape):
    return torch.ones(*shape, device=simulated_device())


def test_a_view_takes_nothing(card):
    """And its memory lives as long as the last who sees it."""
    with card:
        plain = _ones(6, 4)
        view = plain.view(4, 6).t()[1:]
        del plain
        assert _happened(card) == [96, "run"]
        del view

    assert _happened(card) == [96, "run", -96]


def test_work_in_place_takes_nothing(card):
    """One allocation, three kernels."""
    with card:
        number = _ones(5)
        number.add_(1).mul_(number)

    assert _happened(card) == [20, "run", "run", "run"]


def test_asking_for_the_device_is_no_kernel(card):
    """torch asks its tensors thousands of times a step, through the same door as an op."""
    with card:
        tensor = _ones(3)
        before = len(card.ledger.events)
        torch.ops.prim.device.default(tensor)

    assert len(card.ledger.events) == before


def test_a_product_makes_one_handle_a_thread(card):
    """Its workspace stays; the second product in the thread finds it."""
    with card:
        left = _ones(2, 2)
        left @ left
        left @ left

    handles = [s for s in card.ledger.sizes.items if s.constant == "cublas_workspace"]
    assert handles == [Size(1, constant="cublas_workspace")]
    assert (
        sum(e.op == Op.ALLOC and e.b == card.ledger.sizes.items.index(handles[0]) for e in card.ledger.events)
        == 1
    )


def test_the_cpu_is_left_alone(card):
    """Tensors there are real, and are not the card's."""
    with card:
        assert (torch.ones(2) + 1).tolist() == [2, 2]

    assert _happened(card) == []


def test_what_comes_from_the_host_becomes_the_cards(card):
    """`torch.tensor` writes on the CPU and copies, as for CUDA."""
    with simulated_libraries(card), card:
        moved = torch.ones(2, 229).to(simulated_device())
        picked = moved[:, [0]]

    assert moved.device == picked.device == simulated_device()
    assert moved.numel() * 4 in _happened(card)


@pytest.mark.parametrize(
    "config",
    [TrainConfig(precision=Precision.NF4), TrainConfig(method=Method.FULL, optimizer="adamw_torch")],
    ids=["nf4", "full"],
)
def test_what_is_remembered_is_what_torch_says(monkeypatch, config):
    """A trace that asks torch every time gives the same tape."""
    model = facts(num_hidden_layers=2)
    remembered = traced(model, config)
    monkeypatch.setattr(recall, "_learn", lambda *_: None)
    recall._recipes.cache_clear()

    assert traced(model, config) == remembered


def test_lists_of_tensors_are_worked_on_at_once():
    """As on CUDA: clipping and torch's plain AdamW take the foreach kernels, with their temporaries."""
    tape = traced(facts(num_hidden_layers=2), TrainConfig(method=Method.FULL, optimizer="adamw_torch"))
    ops = {label.op for label in tape.labels}

    assert {"aten::_foreach_norm.Scalar", "aten::_foreach_sqrt"} <= ops
    assert "aten::sqrt" not in ops


def test_paged_states_are_not_on_the_card():
    """Only those of small tensors are; the others lie in memory that the driver pages in."""
    model = facts(num_hidden_layers=2)
    paged, plain = (
        traced(model, TrainConfig(method=Method.FULL, optimizer=name))
        for name in ("paged_adamw_8bit", "adamw_8bit")
    )

    assert _state_bytes(paged) < 0.1 * _state_bytes(plain)


def _state_bytes(tape):
    return sum(
        tape.sizes[event.b].at(1, 2048, 0)
        for event in tape.events
        if event.op == Op.ALLOC and tape.labels[event.label].category == "optimizer state"
    )


def test_buffers_inside_a_quantised_kernel_are_workspace():
    """The dequantised weight of a 4-bit product is there for the product only."""
    tape = traced(facts(num_hidden_layers=2), TrainConfig(precision=Precision.NF4))
    dequantised = 2 * 256 * 704  # bf16
    categories = {
        tape.labels[event.label].category
        for event in tape.events
        if event.op == Op.ALLOC and tape.sizes[event.b].at(1, 2048, 0) == dequantised
    }

    assert "workspace" in categories
