"""Liger's kernels where a run can have them: elsewhere the chunked loss, which computes the same, takes their place."""

import importlib.util
import os
import shutil
from dataclasses import replace

from advisor.plan.document import PlannedRun
from advisor.records import Loss

_COMPILERS = ("cc", "gcc", "clang")  # triton 3, runtime/build.py: CC, else these


def with_kernels_that_run(planned: PlannedRun, *, on_card: bool) -> tuple[PlannedRun, str]:
    """The plan as this machine can run it, and what was changed; an empty text where nothing was."""
    why = why_no_liger(on_card=on_card)
    if planned.config.loss is not Loss.LIGER or not why:
        return planned, ""
    note = (
        f"WARNING: the plan's Liger kernels can't run here ({why}), so the chunked loss takes their place: what is learned "
        "is the same, and a step takes longer and more memory than planned"
    )
    return replace(planned, config=replace(planned.config, loss=Loss.CHUNKED)), note


def why_no_liger(*, on_card: bool) -> str:
    """What Liger's kernels lack on this machine; empty where nothing."""
    if not on_card:
        return "there is no NVIDIA card"
    if importlib.util.find_spec("liger_kernel") is None:
        return "pip install liger-kernel"
    compilers = (os.environ.get("CC") or "", *_COMPILERS)
    if not any(shutil.which(name) for name in compilers if name):
        return "Triton needs a C compiler, such as gcc"
    return ""
