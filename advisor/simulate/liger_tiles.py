"""Has Liger cut its loss into tiles of a size that a trace chose, so that they are known again wherever they show.

Left to itself it takes a power of two, as are many dimensions of a model. Nothing but how many tiles there are and how many
tokens each holds hangs on it. That the real one is as `tape.record` reckons it is checked where the trace's takes its place.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from advisor.errors import AdvisorError
from advisor.simulate.recorder import Recorder
from advisor.simulate.regions import tiles
from advisor.simulate.sizes import LigerSymbols

_LOSS = "liger_kernel.ops.fused_linear_cross_entropy"


@contextmanager
def own_tiles(card: Recorder, own: LigerSymbols, *, marked: bool) -> Iterator[None]:
    """While it lasts Liger's loss is cut as `own` says; `marked`: each tile is a part of the tape."""
    loss: Any = importlib.import_module(_LOSS)
    cutter = _Cutter(loss.triton, own, card.symbols.micro_batch * card.symbols.sequence_length)

    def checked_range(count: int) -> Iterable[int]:
        cutter.check(count)
        return tiles(card.ledger, range(count)) if marked else range(count)

    with (
        mock.patch.object(loss, "triton", cutter),
        mock.patch.object(loss, "range", checked_range, create=True),
    ):
        yield


class _Cutter:
    """Triton's reckoning, of which the size of a tile is another."""

    def __init__(self, triton: Any, own: LigerSymbols, tokens: int) -> None:
        self.real = triton
        self.own = own
        self.tokens = tokens
        self.asked = False  # for the size of a tile, since the last loop
        self._last = (0, 0)

    def cdiv(self, a: int, b: int) -> int:
        """The quotient, rounded up."""
        self._last = a, b
        quotient: int = self.real.cdiv(a, b)
        return quotient

    def next_power_of_2(self, n: int) -> int:
        """The least that is no less, but for a tile: `next_power_of_2(cdiv(tokens, most tiles))`."""
        real: int = self.real.next_power_of_2(n)
        if self._last != (self.tokens, self.own.most_tiles) or n != self.real.cdiv(*self._last):
            return real
        self.asked = True
        return self.own.tile

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """All else is Triton's."""
        found: Callable[..., Any] = getattr(self.real, name)
        return found

    def check(self, count: int) -> None:
        """Refuse a loop that is not of the trace's tiles."""
        if not self.asked or count != self.own.tiles:
            raise AdvisorError(
                "Liger cuts its loss otherwise than is known here.",
                why=f"{count} tiles of {self.tokens} tokens, of this model at most {self.own.most_tiles}",
                fix="install the liger-kernel of constraints.txt, or use --loss chunked",
            )
        self.asked = False
