"""The adapter of a run, merged into its base: a whole model, checked by loading it and letting it write."""

import gc
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from advisor.errors import AdvisorError, ExitCode
from advisor.files import replace_text
from advisor.merging import shard_bytes
from advisor.records import QUANTISED, Precision, TrainConfig, config_from_json
from advisor.step.dtypes import weight_dtype
from advisor.step.load import load_model
from advisor.step.observe import Unobserved
from advisor.step.weights import Checkpoint
from advisor.train.checkpoints import torn
from advisor.train.generate import write_text
from advisor.train.merge_memory import MergePlan, Peak, check_memory, plan_merge, resident_bytes
from advisor.train.model import weights_folder
from advisor.train.output import ADAPTER_FOLDER, RUN_FILE, check_space, new_folder
from advisor.train.quiet import quiet_libraries
from advisor.train.report import load_report
from advisor.units import gib

_FILE = "merge.json"
_PROBE = "The quick brown fox jumps over the lazy dog, and 2 + 2 = 4."
# Merged weights are rounded once to the base's dtype, where base and adapter apart are added unrounded.
_MOST_APART = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A merged model that was loaded again and wrote."""

    plan: MergePlan
    rose_bytes: int  # by so much the process's resident memory rose at most
    apart: float  # root mean square of the difference of logits, over that of the logits
    text: str  # how it goes on after the probe


def merge(
    folder: Path, output: Path, *, base: str | None, force: bool, tell: Callable[[str], None]
) -> Merged:
    """Merge `folder`'s adapter into `base`, or into the base that it names, and leave the model in `output`.

    Raises: AdvisorError where there is no whole adapter, the base is another, the memory or the disk is too
    small, or the merged model does not answer as base and adapter do; then `output` is as it was.
    """
    document = load_report(folder / RUN_FILE)
    config = config_from_json(document["config"])
    adapter = _adapter(folder, document)
    if output.exists() and not (force and (output / _FILE).is_file()):
        other = "" if (output / _FILE).is_file() else " and is no merged model"
        raise AdvisorError(
            f"{output} exists{other}.",
            fix="give another name" + ("" if other else ", or --force to replace it"),
        )
    name = base or _base_name(adapter)
    weights = weights_folder(name)
    planned = plan_merge(weights, adapter, weight_dtype(config))
    for note in _notes(planned, config, name):
        tell(note)
    _check_room(planned, output)
    with quiet_libraries(), torch.no_grad():
        return _merged(planned, config, weights, adapter, output)


def _adapter(folder: Path, document: dict[str, Any]) -> Path:
    adapter = folder / ADAPTER_FOLDER
    if document.get("saved") != ADAPTER_FOLDER or not (adapter / "adapter_model.safetensors").is_file():
        whole = document.get("saved")
        raise AdvisorError(
            f"{folder} holds no adapter to merge.",
            why=f"the run trained the weights themselves: {folder / whole} is a whole model already"
            if isinstance(whole, str) and whole != ADAPTER_FOLDER
            else "no adapter was saved",
        )
    why = torn(adapter)
    if why is not None:
        raise AdvisorError(
            f"{adapter} is not what the run wrote.", why=why, fix="copy it again, or train again"
        )
    return adapter


def _base_name(adapter: Path) -> str:
    try:
        name = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))[
            "base_model_name_or_path"
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdvisorError(
            f"{adapter} does not name its base.", why=str(error), fix="give it with --model"
        ) from error
    if not isinstance(name, str) or not name:
        raise AdvisorError(f"{adapter} does not name its base.", fix="give it with --model")
    return name


def _notes(planned: MergePlan, config: TrainConfig, name: str) -> list[str]:
    kind = str(planned.dtype).removeprefix("torch.")
    first = (
        f"merging into {name} as {kind}, on the CPU: at most {gib(planned.peak_bytes)} of main memory, of "
        f"{gib(planned.available_bytes)} free ({gib(planned.weights_bytes)} weights)"
    )
    if config.precision in QUANTISED:
        second = (
            f"the adapter learned over a base stored as {config.precision.value}; it is merged into the unquantised "
            f"one, as {kind}, for weights that were quantised again would round part of it away. So the merged "
            "model differs from the trained one by the base's quantisation error: evaluate it before you ship it"
        )
        return [first, second]
    return [first]


def _check_room(planned: MergePlan, output: Path) -> None:
    check_memory(planned)
    place = next(parent for parent in (output, *output.absolute().parents) if parent.exists())
    check_space(place, planned.weights_bytes)


def _merged(planned: MergePlan, config: TrainConfig, weights: Path, adapter: Path, output: Path) -> Merged:
    before, peak = resident_bytes(), Peak()
    tokenizer = _tokenizer(adapter)
    ids = tokenizer(_PROBE, return_tensors="pt")["input_ids"]
    model = _with_adapter(config, planned.dtype, weights, adapter)
    wanted = model(input_ids=ids).logits.float()
    peak.look()
    merged: Any = model.merge_and_unload(safe_merge=True)
    peak.look()
    merged.config.use_cache = True
    with new_folder(output) as folder:
        merged.save_pretrained(str(folder), max_shard_size=shard_bytes(planned.weights_bytes))
        tokenizer.save_pretrained(str(folder))
        peak.look()
        del model, merged
        gc.collect()
        again: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=planned.dtype, use_safetensors=True, trust_remote_code=False
        ).eval()
        apart = _apart(wanted, again(input_ids=ids).logits.float())
        text = write_text(again, tokenizer, _PROBE, seed=None, new_tokens=8)
        if not apart <= _MOST_APART[planned.dtype]:
            raise AdvisorError(
                "The merged model does not answer as the base with its adapter does.",
                why=f"their logits differ by {apart:.1%}",
                fix="use the adapter beside its base, and report the model",
                exit_code=ExitCode.NO,
            )
        peak.look()
        _remember(folder, planned, config, apart)
    return Merged(plan=planned, rose_bytes=max(0, peak.bytes - before), apart=apart, text=text)


def _with_adapter(config: TrainConfig, dtype: torch.dtype, weights: Path, adapter: Path) -> PeftModel:
    """The base in the dtype it is merged in, with the saved adapter on it."""
    names = {torch.float32: Precision.FP32, torch.float16: Precision.FP16, torch.bfloat16: Precision.BF16}
    whole = replace(config, precision=names[dtype])
    base = load_model(Checkpoint(str(weights)), whole, torch.device("cpu"), Unobserved())
    try:
        adapted: PeftModel = PeftModel.from_pretrained(base, str(adapter))
    except (RuntimeError, ValueError, KeyError) as error:
        raise AdvisorError(
            f"The adapter in {adapter} does not fit {weights}.",
            why=str(error).strip().splitlines()[0],
            fix="give the base that it was trained on with --model",
        ) from error
    return adapted.eval()


def _tokenizer(adapter: Path) -> PreTrainedTokenizerBase:
    made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        str(adapter), local_files_only=True, trust_remote_code=False
    )
    return made


def _apart(wanted: torch.Tensor, found: torch.Tensor) -> float:
    return float((wanted - found).square().mean().sqrt() / wanted.square().mean().sqrt())


def _remember(folder: Path, planned: MergePlan, config: TrainConfig, apart: float) -> None:
    """Beside the weights, where they come from; no place, no name."""
    said = {
        "schema": 1,
        "kind": "merged",
        "trained_over": config.precision.value,
        "dtype": str(planned.dtype).removeprefix("torch."),
        "logits_apart": apart,
    }
    replace_text(folder / _FILE, json.dumps(said, indent=2) + "\n")
