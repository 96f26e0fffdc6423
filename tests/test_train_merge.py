"""A merged model is base and adapter in one: it loads without PEFT, and answers as they do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraModel
from train_parts import make_tiny_model, one_thread, plan_for, run, texts, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from advisor.catalog.models import find_model
from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.merging import planned_merge_bytes
from advisor.records import Autocast, Method, Precision
from advisor.train import merge as module
from advisor.train.merge import merge
from advisor.train.merge_memory import plan_merge

CASES = {
    "fp32": ({"precision": Precision.FP32}, "float32", 1e-4),
    "bf16": ({"precision": Precision.BF16}, "bfloat16", 0.05),
    "nf4": ({"precision": Precision.NF4}, "bfloat16", 0.05),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty short texts."""
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", texts(60))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model of two layers."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter_run(tmp_path_factory, data, tiny):
    """A run that left an adapter that changes much."""
    output = tmp_path_factory.mktemp("run") / "out"
    planned = plan_for(tiny, precision=Precision.NF4)
    run(planned, output, data, tiny, learning_rate=3e-2, warmup_steps=0, max_steps=4)
    return output


def merged(folder, output, **options):
    """Merge, and what was said."""
    said = []
    with one_thread():
        made = merge(folder, output, **({"base": None, "force": False} | options), tell=said.append)
    return made, " ".join(said)


@pytest.mark.parametrize("case", CASES)
def test_the_merged_model_answers_as_base_and_adapter(tmp_path, data, tiny, case):
    """Loaded by transformers alone, from safetensors, in the dtype that was said."""
    config, dtype, apart = CASES[case]
    run(plan_for(tiny, **config), tmp_path / "run", data, tiny, learning_rate=3e-2, max_steps=4)
    made, said = merged(tmp_path / "run", tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter")(ids).logits
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
        found = whole(ids).logits

    def distance(one, other):
        return ((one - other).square().mean() / other.square().mean()).sqrt().item()

    assert distance(found, adapted) < apart < distance(plain, adapted)
    assert made.apart < apart
    assert isinstance(made.text, str)
    assert f"as {dtype}" in said
    assert ("differs from the trained one" in said) == (case == "nf4")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == dtype
    assert whole.config.use_cache
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token_id is not None
    assert not list((tmp_path / "merged").glob("adapter*"))
    assert not [path.name for path in (tmp_path / "merged").iterdir() if path.suffix in (".bin", ".pt")]


def test_the_memory_is_told_before(tmp_path, adapter_run, monkeypatch):
    """The weights by their headers, the largest product, the file that is written; refused where it is too much."""
    parameters = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(MODEL_FOLDER).parameters())
    planned = plan_merge(Path(MODEL_FOLDER), adapter_run / "adapter", torch.bfloat16)
    config = plan_for(MODEL_FOLDER).config
    spec = find_model(str(MODEL_FOLDER))[0]
    saved_bytes = (adapter_run / "adapter" / "adapter_model.safetensors").stat().st_size
    foretold = planned_merge_bytes(spec, config, parameters=parameters, trainable=saved_bytes // 4)
    small = replace(planned, available_bytes=planned.peak_bytes - 1)

    assert planned.weights_bytes == 2 * parameters
    assert planned.peak_bytes >= 2 * planned.weights_bytes  # one file, held twice while it is written
    assert abs(foretold - planned.peak_bytes) < 8  # the plan's figure, before there was any file
    monkeypatch.setattr(module, "plan_merge", lambda *_: small)
    with pytest.raises(AdvisorError, match="Too little main memory") as caught:
        merged(adapter_run, tmp_path / "merged")
    assert ExitCode.ENVIRONMENT is caught.value.exit_code
    assert not (tmp_path / "merged").exists()


def test_fp16_arithmetic_merges_into_fp16(adapter_run):
    """A card without bf16 computed in fp16: the merged weights are what it would load."""
    config = plan_for(MODEL_FOLDER, precision=Precision.NF4, autocast=Autocast.FP16).config

    assert module.weight_dtype(config) is torch.float16


def test_what_is_no_adapter_is_refused(tmp_path, data, tiny, adapter_run):
    """A whole model, a torn adapter, a folder without a run."""
    run(plan_for(tiny, method=Method.LAST_LAYERS, trainable_layers=1), tmp_path / "full", data, tiny)
    with pytest.raises(AdvisorError, match="no adapter") as caught:
        merged(tmp_path / "full", tmp_path / "merged")
    assert "is a whole model already" in caught.value.why
    with pytest.raises(AdvisorError, match="Can't read"):
        merged(tmp_path, tmp_path / "merged")

    file = adapter_run / "adapter" / "adapter_model.safetensors"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(AdvisorError, match="is not what the run wrote"):
            merged(adapter_run, tmp_path / "merged")
    finally:
        file.write_bytes(content)
    assert not (tmp_path / "merged").exists()


def test_another_base_is_refused(tmp_path, adapter_run):
    """The demo's model has other shapes; nothing is written."""
    with pytest.raises(AdvisorError, match="does not fit"):
        merged(adapter_run, tmp_path / "merged", base=str(MODEL_FOLDER))
    with pytest.raises(AdvisorError, match="There is no model"):
        merged(adapter_run, tmp_path / "merged", base="nowhere")

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path, adapter_run):
    """With --force a merged model is, and never anything else."""
    merged(adapter_run, tmp_path / "merged")
    with pytest.raises(AdvisorError, match="exists") as caught:
        merged(adapter_run, tmp_path / "merged")
    assert "--force" in caught.value.fix
    merged(adapter_run, tmp_path / "merged", force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")

    with pytest.raises(AdvisorError, match="is no merged model"):
        merged(adapter_run, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "letter").read_text() == "dear"


def test_a_merge_that_went_wrong_is_seen(tmp_path, adapter_run, monkeypatch):
    """The model is loaded again and asked: where it answers otherwise nothing is left."""
    real = LoraModel.merge_and_unload

    def wrong(self, **options):
        model = real(self, **options)
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(2)
        return model

    monkeypatch.setattr(LoraModel, "merge_and_unload", wrong)
    with pytest.raises(AdvisorError, match="does not answer as the base with its adapter"):
        merged(adapter_run, tmp_path / "merged")

    assert list(tmp_path.iterdir()) == []
