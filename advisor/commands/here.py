"""The card of this machine, asked without torch."""

from advisor.catalog.gpus import gpu_by_device_name
from advisor.records import GpuSpec


def card_here() -> GpuSpec | None:
    """The first NVIDIA card, where there is one that the catalog knows."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return gpu_by_device_name(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))))
    except pynvml.NVMLError:
        return None
