"""What looks like a path, a user, a host or an address, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.profiles import personal
from advisor.profiles.personal import find_personal, scrubbed

OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which 1.2 GiB is free. "
    "See documentation for Memory Management (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
)


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    """A machine called wopr, of someone called falken."""
    monkeypatch.setattr(personal.socket, "gethostname", lambda: "wopr.norad.example")
    monkeypatch.setattr(personal.getpass, "getuser", lambda: "falken")
    personal._own_names.cache_clear()
    yield
    personal._own_names.cache_clear()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("path", 'File "/home/ada/runs/train.py", line 3'),
        ("path", "can't open /mnt/models"),
        ("path", "HF_HOME=/data/hub"),
        ("path", "C:\\Users\\ada\\train.py"),
        ("path", "\\\\server\\share"),
        ("path", "~/models/llama"),
        ("path", "../aten/src/ATen/native/cuda/Loss.cu:242"),
        ("path", "projects/secret/train.py"),
        ("address", "ada@box said no"),
        ("address", "rpc to 10.1.2.3:29500 failed"),
        ("address", "gpu-7.cluster.internal is down"),
        ("address", "https://git.example.com/ada"),
        ("user", "denied to Falken."),
        ("host", "wopr: no route"),
        ("host", "at wopr.norad.example"),
    ],
)
def test_what_tells_of_a_machine_is_found(kind, text):
    """And its kind is told; scrubbed it is gone."""
    assert kind == find_personal(text)[0]
    assert find_personal(scrubbed(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        OUT_OF_MEMORY,
        "expandable_segments:True,max_split_size_mb:128",
        "Only fp32/fp16/bf16 run at 3 GB/s here",
        "2.13.0.dev20261101+cu130",
        "9.10.2.21",
        "NVIDIA A100-SXM4-80GB",
        "Linux x86_64",
        "falkens wopr2 prefalken",
        "adamw_torch_fused",
        "2026-11-25T10:00:00Z",
    ],
)
def test_what_tells_of_a_card_stays(text):
    """Also when it is scrubbed."""
    assert find_personal(text) is None
    assert text == scrubbed(text)


def test_scrubbing_keeps_the_words_around():
    """On one line."""
    assert "CUDA error in <path>:44 of <user> on <host>" == scrubbed(
        "CUDA error\n  in /pytorch/c10/cuda/x.cpp:44 of falken on wopr"
    )


@given(st.text(alphabet=st.sampled_from("/\\~.:@ aC3-'\"\x1bé\n<>falkenwopr"), max_size=60) | st.text())
def test_scrubbed_text_may_always_be_kept(text):
    """Nothing personal, one line, printable, not too long."""
    kept = scrubbed(text)

    assert find_personal(kept) is None
    assert kept.isprintable()
    assert len(scrubbed(text * 50)) <= personal.LONGEST_TEXT
