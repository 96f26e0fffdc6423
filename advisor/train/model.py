"""Which weights and which tokenizer a run takes: a directory, the hub, or a bare shape with random ones."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from advisor.errors import AdvisorError
from advisor.plan.document import PlannedRun
from advisor.step.weights import Checkpoint, Shaped, WeightSource, random_weights
from advisor.train.hub import downloaded

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_BYTES = 256
# What two models of one shape share; what differs in these has another memory.
_SHAPE = (
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_local_experts",
    "num_experts",
    "tie_word_embeddings",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The weights and the tokenizer of a run."""

    name: str  # as the user wrote it; the adapter remembers its base by it
    source: WeightSource
    tokenizer: PreTrainedTokenizerBase
    notes: tuple[str, ...] = ()

    @property
    def random(self) -> bool:
        """Whether the weights are random, so that what is learned is worth nothing."""
        return isinstance(self.source, Shaped)


def resolve_model(planned: PlannedRun, name: str | None) -> Resolved:
    """The weights behind `name`: a directory with safetensors, a hub name, or the plan's shape.

    Raises: AdvisorError where they can't be found or read, or are of another shape than the plan's.
    """
    if name is None:
        raise AdvisorError(
            f"The plan holds the shape of {planned.model.name}, not its weights.",
            fix="give --model with a directory or a hub name, or --model "
            f"{planned.model.name} for random weights, to try memory and speed",
        )
    folder = _directory(name)
    if folder is not None:
        return _from_directory(planned, str(folder), folder)
    if name in (planned.model.name, "random"):
        return _random(planned)
    if _is_hub_name(name):
        return _from_directory(planned, name, downloaded(name))
    raise AdvisorError(
        f"There is no model {name!r}.",
        why="it is no directory, no hub name such as org/name, and not the plan's model",
        fix=f"give a directory with config.json and *.safetensors, or {planned.model.name} for random weights",
    )


def weights_folder(name: str) -> Path:
    """The local folder of unquantised safetensors behind a directory or a hub name.

    Raises: AdvisorError where there is none.
    """
    folder = _directory(name) or (downloaded(name) if _is_hub_name(name) else None)
    if folder is None:
        raise AdvisorError(
            f"There is no model {name!r}.",
            why="it is no directory and no hub name such as org/name",
            fix="give --model with the directory of the base's config.json and *.safetensors",
        )
    _check_weights(folder)
    _facts(folder)
    return folder


def _directory(name: str) -> Path | None:
    folder = Path(name).parent if Path(name).name == "config.json" else Path(name)
    return folder if folder.is_dir() and (folder == Path(name) or _has_weights(folder)) else None


def _is_hub_name(name: str) -> bool:
    return _HUB_NAME.fullmatch(name) is not None and not Path(name).exists()


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Text as its UTF-8 bytes, ids 0 to 255, and an end token, 256: what a shape without a tokenizer reads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocab = {character: byte for byte, character in bytes_to_unicode().items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Added tokens take the next free id, so the end is 256.
    end = "<|end|>"
    made: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, pad_token=end
    )
    return made


def _random(planned: PlannedRun) -> Resolved:
    vocab = planned.model.config.get("vocab_size", 0)
    if not isinstance(vocab, int) or vocab <= _BYTES:
        raise AdvisorError(
            f"{planned.model.name} has a vocabulary of {vocab}, too small for text as bytes.",
            fix="give --model with a directory that has weights and a tokenizer",
        )
    return Resolved(
        name=planned.model.name,
        source=Shaped(planned.model.config, random_weights()),
        tokenizer=byte_tokenizer(),
        notes=(
            "WARNING: random weights, for benchmarking only: nothing useful is learned, and no weights are saved",
            "a shape has no tokenizer: the text is read as its UTF-8 bytes, so one byte is one token",
        ),
    )


def _from_directory(planned: PlannedRun, name: str, folder: Path) -> Resolved:
    _check_weights(folder)
    _check_shape(planned, name, _facts(folder))
    return Resolved(name=name, source=Checkpoint(str(folder)), tokenizer=_tokenizer(name, folder))


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _check_weights(folder: Path) -> None:
    if _has_weights(folder):
        return
    others = sorted(p.name for pattern in ("*.bin", "*.pth", "*.gguf") for p in folder.glob(pattern))
    raise AdvisorError(
        f"{folder} has no *.safetensors.",
        why=f"it has {', '.join(others[:3])}, which may run code or can't be trained" if others else "",
        fix="save it with model.save_pretrained(…), or give the directory or hub name that has them",
    )


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdvisorError(
            f"Can't read {path}.", why=str(error), fix="the directory of a model has one"
        ) from error
    if not isinstance(facts, dict):
        raise AdvisorError(f"{path} holds no object.", fix="the directory of a model has one")
    if "quantization_config" in facts:
        raise AdvisorError(
            f"The weights in {folder} are quantised already.",
            why="the plan quantises while it loads, or trains the weights as they are",
            fix="give the unquantised weights",
        )
    return facts


def _check_shape(planned: PlannedRun, name: str, facts: Mapping[str, Any]) -> None:
    plan = planned.model.config
    other = [
        f"{key} is {facts[key]} here and {plan[key]} in the plan"
        for key in _SHAPE
        if key in facts and key in plan and facts[key] != plan[key]
    ]
    if other:
        raise AdvisorError(
            f"{name} is not the plan's model, {planned.model.name}: its memory was not planned.",
            why="; ".join(other[:3]),
            fix=f"plan for it: advisor plan --gpu … --model {name}/config.json -o plan.json",
        )


def _tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise AdvisorError(
            f"{name} has no tokenizer that transformers can load.",
            why=str(error).splitlines()[0],
            fix="copy tokenizer.json and tokenizer_config.json of the model into the directory",
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # the collator asks for one, and never pads equal blocks
    return tokenizer
