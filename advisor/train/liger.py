"""Liger's kernels where a run can have them: elsewhere the chunked loss, which computes the same, takes their place."""

import importlib.util
import os
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path

from advisor.plan.document import PlannedRun
from advisor.records import Loss


def with_kernels_that_run(planned: PlannedRun, *, on_card: bool) -> tuple[PlannedRun, str]:
    """The plan as this machine can run it, and what was changed; an empty text where nothing was.

    The plan's figures are of Liger's step. On a card they are left out, for nothing may be compared with them, and so
    are the alternatives to fall back on, which need Liger, too.
    """
    why = why_no_liger(on_card=on_card)
    if planned.config.loss is not Loss.LIGER or not why:
        return planned, ""
    note = (
        f"WARNING: the plan's Liger kernels can't run here ({why}), so the chunked loss takes their place: what is learned "
        "is the same, and a step takes longer and more memory than planned"
    )
    return replace(
        planned,
        config=replace(planned.config, loss=Loss.CHUNKED),
        estimate={} if on_card else planned.estimate,
        alternatives=(),
    ), note


def why_no_liger(*, on_card: bool) -> str:
    """What Liger's kernels lack on this machine; empty where nothing."""
    if not on_card:
        return "there is no NVIDIA card"
    if importlib.util.find_spec("liger_kernel") is None:
        return "pip install liger-kernel"
    # As Triton's runtime/build.py has it: it compiles its launcher, which includes Python.h.
    compilers = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    if not any(map(shutil.which, compilers)):
        return "Triton needs a C compiler, such as gcc"
    if not Path(sysconfig.get_paths(scheme="posix_prefix")["include"], "Python.h").is_file():
        return "Triton needs Python's headers, such as the package python3-dev"
    return ""
