"""Where a run or a measurement ran, as structured facts: no host, no user, no path."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from advisor.train.card import driver

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl", "datasets")


def environment(device: torch.device) -> dict[str, Any]:
    """The facts that memory and speed hang on; those of a card are None on a CPU."""
    on_cuda = device.type == "cuda"
    return {
        "card": torch.cuda.get_device_name(device) if on_cuda else None,
        "compute_capability": list(torch.cuda.get_device_capability(device)) if on_cuda else None,
        "memory_bytes": torch.cuda.get_device_properties(device).total_memory if on_cuda else None,
        "driver": driver() if on_cuda else None,
        "cuda": torch.version.cuda,
        "allocator_settings": os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_threads": torch.get_num_threads(),
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Versions of the libraries that the step runs."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
