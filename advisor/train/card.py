"""The device a run takes, what the card says of itself, and how the allocator is set for the plan."""

import gc
import os
from dataclasses import dataclass

import pynvml
import torch

from advisor.errors import AdvisorError, ExitCode
from advisor.records import Allocator, TrainConfig
from advisor.train.sensors import CardSensors
from advisor.units import gib

_SETTINGS = "PYTORCH_CUDA_ALLOC_CONF"
_EXPANDABLE = "expandable_segments:True"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardNow:
    """A card as it is at this moment."""

    name: str
    memory_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int]
    native_bf16: bool
    driver: str | None = None
    shared: bool = False  # others use it, too
    kernels_missing: str = ""  # why bitsandbytes has none for this card


def choose_device() -> torch.device:
    """The first CUDA card, or the CPU where there is none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def card_now(device: torch.device, *, shared: bool = False) -> CardNow | None:
    """What the card says of itself; None on a CPU. `shared` is `used_by_others`, asked before this."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return CardNow(
        name=torch.cuda.get_device_name(device),
        memory_bytes=total,
        free_bytes=free,
        compute_capability=torch.cuda.get_device_capability(device),
        native_bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        driver=driver(),
        shared=shared,
        kernels_missing=_kernels_missing(),
    )


def used_by_others() -> bool:
    """Whether someone else is on the card; to be asked before this process is."""
    sensors = CardSensors.open(None)
    return sensors is not None and sensors.used_by_others(os.getpid())


def unusable_card() -> str | None:
    """Why torch can't use the NVIDIA card that is here; None where it can, where none is, or where it is hidden."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or torch.cuda.is_available() or driver() is None:
        return None
    try:
        if not pynvml.nvmlDeviceGetCount():
            return None
    except pynvml.NVMLError:
        return None
    if torch.version.cuda is None:
        return f"the driver is {driver()}, and this torch, {torch.__version__}, is built without CUDA"
    return f"the driver is {driver()}, and this torch is built for CUDA {torch.version.cuda}"


def driver() -> str | None:
    """The version of the NVIDIA driver; None where there is none."""
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _kernels_missing() -> str:
    from bitsandbytes import cextension

    if getattr(cextension.lib, "compiled_with_cuda", False):
        return ""
    said = str(getattr(cextension.lib, "error_msg", "")).strip().splitlines()
    return said[0] if said else "its library is built without CUDA"


def set_allocator(config: TrainConfig) -> str | None:
    """Give the CUDA allocator the plan's setting; call it before anything is on the card.

    Gives a note where the environment says otherwise than the plan.
    """
    present = os.environ.get(_SETTINGS, "")
    if config.allocator is Allocator.EXPANDABLE:
        os.environ[_SETTINGS] = ",".join(part for part in (present, _EXPANDABLE) if part)
        if torch.cuda.is_available():
            torch.cuda.memory._set_allocator_settings(_EXPANDABLE)  # noqa: SLF001 - the variable may be read by now
        return None
    if present:
        return f"{_SETTINGS} is {present!r}, and the plan is for the default allocator"
    return None


def cap_memory(cap_bytes: int, device: torch.device) -> None:
    """Let the allocator reserve no more than this, as on a card that has no more to give.

    Raises: AdvisorError where the card itself is smaller.
    """
    total = torch.cuda.get_device_properties(device).total_memory
    if not 0 < cap_bytes <= total:
        raise AdvisorError(
            f"A cap of {gib(cap_bytes)} can't be put on a card of {gib(total)}.",
            fix="give a smaller size, or none",
            exit_code=ExitCode.ENVIRONMENT,
        )
    torch.cuda.set_per_process_memory_fraction(cap_bytes / total, device)


def release_cache(device: torch.device) -> None:
    """Give back what an evaluation left cached, so that training begins as if there had been none.

    What cuBLAS keeps for its workspaces lies in the same pool and would lie among the weights.
    """
    if device.type != "cuda":
        return
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - no public name; torch's own CUDA graphs call it
    torch.cuda.empty_cache()
