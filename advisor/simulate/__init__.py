"""The GPU that is not there: runs the real step on a simulated device and writes down a tape."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

import advisor.step  # noqa: F401 - silences what bitsandbytes says when it is imported


def uncompiled(function: Callable[..., Any] | None = None, **_: object) -> Callable[..., Any]:
    """`torch.compile` that leaves a function as it is."""
    return uncompiled if function is None else function


# bitsandbytes compiles kernels of its CPU backend at import, which a trace never runs: the compiler alone
# takes longer to import than the rest of bitsandbytes.
with mock.patch.object(torch, "compile", uncompiled):
    import bitsandbytes  # noqa: F401
