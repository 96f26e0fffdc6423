"""The card that a trace pretends to run on: the few facts that change which kernels run."""

from dataclasses import dataclass

from advisor.records import GpuSpec


@dataclass(frozen=True, slots=True)
class Target:
    """What kernel choice depends on; cards that agree in it share a tape."""

    compute_capability: tuple[int, int]
    multiprocessors: int

    @property
    def family(self) -> str:
        """`sm75` has no flash attention; from `sm80` on the kernels of a training step are the same."""
        return "sm80" if self.compute_capability >= (8, 0) else "sm75"

    @property
    def model(self) -> str:
        """The very card, where the family is not enough."""
        major, minor = self.compute_capability
        return f"sm{major}{minor} x {self.multiprocessors}"


# Where no card is named: flash attention and bf16, as every card since 2020 has them.
ANY_CARD = Target((8, 0), 108)


def target_of(gpu: GpuSpec | None) -> Target:
    """The kernel choices of the card."""
    return ANY_CARD if gpu is None else Target(gpu.compute_capability, gpu.multiprocessors)
