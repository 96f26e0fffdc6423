"""The card that a trace pretends to run on: the few facts that change which kernels run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """What kernel choice depends on; cards that agree in it share a tape."""

    compute_capability: tuple[int, int]
    multiprocessors: int

    @property
    def family(self) -> str:
        """`sm75` has no flash attention; from `sm80` on the kernels of a training step are the same."""
        return "sm80" if self.compute_capability >= (8, 0) else "sm75"
