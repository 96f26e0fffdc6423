"""Before anything is loaded: can this plan run here? What can't is an error that says what to do."""

import importlib.util
import os
from typing import Any

from advisor.catalog.gpus import gpu_by_device_name
from advisor.errors import AdvisorError, ExitCode
from advisor.plan.document import PlannedRun
from advisor.records import Attention, Autocast, Checkpointing, Loop, Method, Precision, TrainConfig
from advisor.train.card import CardNow
from advisor.units import gib

# bitsandbytes 0.50, docs/source/installation.mdx: LLM.int8 from 7.5, 4-bit and 8-bit optimizers from 6.0.
_OLDEST_CAPABILITY = {Precision.INT8: (7, 5), Precision.NF4: (6, 0), Precision.NF4_SINGLE: (6, 0)}

_OF_BITSANDBYTES = ("8bit", "bnb", "paged")  # in transformers' names of optimizers


def check_plan(planned: PlannedRun, card: CardNow | None, *, cap_bytes: int | None = None) -> tuple[str, ...]:
    """Notes on running the plan on the card, or on the CPU where it is None.

    Raises: AdvisorError, exit code 3, where this machine can't run it; 1, where the memory can't hold it.
    """
    _check_config(planned.config)
    if card is None:
        return (_check_host(planned),)
    _check_arithmetic(planned, card)
    _check_kernels(planned.config, card)
    _check_attention(planned.config)
    _check_memory(planned, card, cap_bytes)
    if card.shared:
        note = (
            f"WARNING: others use the {card.name} too (nvidia-smi shows who): the speed is not the card's own, "
            "and the memory may run out where they take more"
        )
        return (note,)
    return ()


def check_driver(why: str | None) -> None:
    """Refuse to train on the CPU where there is a card that torch can't use: hours later nobody wants to know.

    Raises: AdvisorError with `why`, which is `card.unusable_card`'s answer.
    """
    if why is not None:
        raise AdvisorError(
            "torch can't use the NVIDIA card that is here.",
            why=why,
            fix="update the driver, or install a torch for it (pytorch.org says which); "
            "CUDA_VISIBLE_DEVICES= trains on the CPU",
            exit_code=ExitCode.ENVIRONMENT,
        )


def estimated_bytes(planned: PlannedRun, key: str) -> int:
    """A figure of the plan's estimate, the middle one where it is an interval; 0 where there is none."""
    figure: Any = planned.estimate.get(key)
    value = figure.get("value") if isinstance(figure, dict) else figure
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _check_config(config: TrainConfig) -> None:
    if config.loop is Loop.BARE:
        raise AdvisorError(
            "A run is the trainer's: the plan's loop is bare.",
            why="the bare loop exists to be estimated and measured",
            fix="plan with loop trainer",
        )
    # torch's GradScaler unscales fp32 gradients alone.
    learning = "bf16" if config.adapter_dtype == "bf16" else "fp32"
    if config.method is not Method.LORA:
        learning = config.precision.value
    if config.autocast is Autocast.FP16 and learning != "fp32":
        raise AdvisorError(
            f"fp16 autocast can't train {learning} weights.",
            why="the gradient scaler that fp16 needs works on fp32 gradients only",
            fix="plan with fp32 adapters or fp32 weights, or with bf16 autocast",
            exit_code=ExitCode.NO,
        )


def _check_host(planned: PlannedRun) -> str:
    _check_attention(planned.config, on_cpu=True)
    if planned.config.checkpointing is Checkpointing.OFFLOADED:
        raise AdvisorError(
            "Offloaded checkpoints can't wait in the host's memory without a card.",
            why="there is no CUDA card here, and torch pins no memory without one",
            fix="plan with --checkpointing non-reentrant",
            exit_code=ExitCode.ENVIRONMENT,
        )
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    static = estimated_bytes(planned, "static_bytes")
    if static > total:
        raise AdvisorError(
            f"There is no CUDA card here, and {planned.model.name} does not fit the main memory.",
            why=f"its weights take {gib(static)}, this machine has {gib(total)}",
            fix="run the plan on a machine with the card that it is for",
            exit_code=ExitCode.ENVIRONMENT,
        )
    return (
        "WARNING: no GPU here, so this trains on the CPU, slowly. The losses are real; GPU memory and speed can't be "
        f"measured, so the plan's figures for {planned.card.name} stay unchecked"
    )


def _check_arithmetic(planned: PlannedRun, card: CardNow) -> None:
    config = planned.config
    capability = ".".join(str(part) for part in card.compute_capability)
    stored_otherwise = config.precision in (Precision.FP32, Precision.FP16)
    computes_bf16 = config.autocast is Autocast.BF16 or (
        config.autocast is Autocast.NONE and not stored_otherwise
    )
    if computes_bf16 and not card.native_bf16:
        raise AdvisorError(
            f"The plan computes in bf16, which the {card.name} can't.",
            why=f"compute capability {capability}; bf16 is native from 8.0, and emulated it is slow",
            fix=_replan(planned, card),
            exit_code=ExitCode.ENVIRONMENT,
        )
    oldest = _OLDEST_CAPABILITY.get(config.precision, (0, 0))
    if card.compute_capability < oldest:
        raise AdvisorError(
            f"bitsandbytes has no {config.precision.value} kernels for the {card.name}.",
            why=f"compute capability {capability}; they begin at {oldest[0]}.{oldest[1]}",
            fix=_replan(planned, card),
            exit_code=ExitCode.ENVIRONMENT,
        )


def _check_kernels(config: TrainConfig, card: CardNow) -> None:
    needs = config.precision in _OLDEST_CAPABILITY or any(
        mark in config.optimizer for mark in _OF_BITSANDBYTES
    )
    if needs and card.kernels_missing:
        what = config.precision.value if config.precision in _OLDEST_CAPABILITY else config.optimizer
        raise AdvisorError(
            f"bitsandbytes can't do {what} here.",
            why=card.kernels_missing,
            fix="`python -m bitsandbytes` tells what it misses; a wheel for this CUDA version mends it",
            exit_code=ExitCode.ENVIRONMENT,
        )


def _check_attention(config: TrainConfig, *, on_cpu: bool = False) -> None:
    if config.attention is not Attention.FLASH_ATTENTION_2:
        return
    if on_cpu or importlib.util.find_spec("flash_attn") is None:
        raise AdvisorError(
            "The plan asks for flash_attention_2, which can't run here.",
            why="there is no CUDA card" if on_cpu else "the package flash-attn is not installed",
            fix="plan with --attention sdpa"
            if on_cpu
            else "pip install flash-attn, or plan with attention sdpa",
            exit_code=ExitCode.ENVIRONMENT,
        )


def _check_memory(planned: PlannedRun, card: CardNow, cap_bytes: int | None) -> None:
    needed = estimated_bytes(planned, "peak_reserved_bytes")
    static = estimated_bytes(planned, "static_bytes")
    room = card.memory_bytes if cap_bytes is None else min(cap_bytes, card.memory_bytes)
    where = f"the {card.name}" if cap_bytes is None else f"the cap of {gib(cap_bytes)}"
    if max(needed, static) > room:
        what = "weights alone take" if static > room else "plan needs"
        raise AdvisorError(
            f"{planned.model.name} does not fit {where}.",
            why=f"the {what} {gib(static if static > room else needed)} of {gib(room)}",
            fix=_replan(planned, card),
            exit_code=ExitCode.NO,
        )
    if needed > card.free_bytes:
        raise AdvisorError(
            f"Too little memory is free on the {card.name}.",
            why=f"the plan needs {gib(needed)}, {gib(card.free_bytes)} of {gib(card.memory_bytes)} are free now",
            fix="end what else runs on the card (nvidia-smi shows it), or plan with --reserve",
            exit_code=ExitCode.ENVIRONMENT,
        )


def _replan(planned: PlannedRun, card: CardNow) -> str:
    known = gpu_by_device_name(card.name, card.memory_bytes)
    if known is None:
        return "plan for a card like this one: `advisor show gpus` lists those that are known"
    return f"plan for this card: advisor plan --gpu {known.slug} --model {planned.model.name} -o plan.json"
