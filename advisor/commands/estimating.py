"""The estimator as every command opens it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from advisor.estimate import Estimator
from advisor.tape.store import TapeStore

err = Console(stderr=True, highlight=False)


@contextmanager
def open_estimator(*, lines: bool = False) -> Iterator[Estimator]:
    """An estimator that says on stderr when it must trace, for that takes seconds; `lines` as `TapeStore` takes it."""
    store = TapeStore(on_trace=_say_tracing, lines=lines)
    try:
        yield Estimator(store)
    finally:
        store.close()


def _say_tracing(count: int) -> None:
    steps = "1 training step" if count == 1 else f"{count} training steps"
    err.print(f"tracing {steps} on the simulated card (kept for next time) …", style="dim")
