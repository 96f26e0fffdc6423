"""The card that a trace pretends to run on: the few facts that change which kernels run."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from advisor.records import GpuSpec


@dataclass(frozen=True, slots=True)
class Target:
    """What kernel choice depends on; cards that agree in it share a tape."""

    compute_capability: tuple[int, int]
    multiprocessors: int

    @property
    def family(self) -> str:
        """`sm75` has no flash attention; `sm80` has; `sm90` asks cuDNN before it."""
        if self.cudnn_head_size:
            return "sm90"
        return "sm80" if self.compute_capability >= (8, 0) else "sm75"

    @property
    def cudnn_head_size(self) -> int:
        """The largest attention head for which torch asks cuDNN first; 0 where it never does."""
        facts = _families()["cudnn_attention"]
        preferred = list(self.compute_capability) in facts["capabilities"]
        return int(facts["largest_head_size"]) if preferred else 0

    @property
    def model(self) -> str:
        """The very card, where the family is not enough."""
        major, minor = self.compute_capability
        return f"sm{major}{minor} x {self.multiprocessors}"


@cache
def _families() -> dict[str, Any]:
    return tomllib.loads(files("advisor.tape").joinpath("families.toml").read_text(encoding="utf-8"))


# Where no card is named: flash attention and bf16, as every card since 2020 has them.
ANY_CARD = Target((8, 0), 108)


def target_of(gpu: GpuSpec | None) -> Target:
    """The kernel choices of the card."""
    return ANY_CARD if gpu is None else Target(gpu.compute_capability, gpu.multiprocessors)
