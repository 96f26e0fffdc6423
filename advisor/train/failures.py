"""What can go wrong while a run goes, as errors that say what to do; a bug keeps its traceback."""

import errno
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from advisor.errors import AdvisorError, ExitCode
from advisor.plan.document import PlannedRun
from advisor.train.checkpoints import drop_torn, last_checkpoint
from advisor.train.fallback import Change
from advisor.train.guard import estimated_bytes
from advisor.units import gib

_REQUESTED = re.compile(r"Tried to allocate ([\d.]+ [KMG]iB)")
# How safetensors and torch.save word a failed write; both hide the number that the system gave.
_FULL_DISK = ("No space left on device", "unexpected pos", "PytorchStreamWriter failed")
_FULL_CARD = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explained(planned: PlannedRun, output: Path, cap_bytes: int | None) -> Iterator[None]:
    """Run what is inside; an interrupt, a full card and a full disk leave it as AdvisorErrors.

    Whatever leaves it, nothing half-written stays in `output`.
    """
    try:
        yield
    except BaseException as error:
        drop_torn(output)  # first: a message about what was kept must not name what was torn
        told = _told(error, planned, output, cap_bytes)
        if told is None:
            raise
        raise told from error
    drop_torn(output)


def _told(
    error: BaseException, planned: PlannedRun, output: Path, cap_bytes: int | None
) -> AdvisorError | None:
    if isinstance(error, KeyboardInterrupt):
        return _interrupted(output)
    if isinstance(error, AdvisorError):
        return None
    if is_out_of_memory(error):
        return out_of_memory(asked_for(error), planned, cap_bytes)
    if is_full_disk(error):
        return _full_disk(output)
    return None


def _interrupted(output: Path) -> AdvisorError:
    kept = last_checkpoint(output)
    if kept is None:
        return AdvisorError(
            "Interrupted: nothing was kept.",
            why="no checkpoint had been written; --save-steps N writes one each N steps",
            exit_code=ExitCode.INTERRUPTED,
        )
    return AdvisorError(
        f"Interrupted: {kept} was kept.",
        fix="the same command goes on from there",
        exit_code=ExitCode.INTERRUPTED,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the card had no more to give."""
    return isinstance(error, torch.OutOfMemoryError) or _says(error, _FULL_CARD)


def is_full_disk(error: BaseException) -> bool:
    """Whether the disk had no more to give."""
    return (isinstance(error, OSError) and error.errno in _NO_SPACE) or _says(error, _FULL_DISK)


def asked_for(error: BaseException) -> str:
    """What the allocator was asked for when it had no more, in words."""
    match = _REQUESTED.search(str(error))
    return f"{match[1]} more were asked for" if match else "the allocator had no more"


def forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of the error hold: the activations of the step that ran out."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def out_of_memory(
    why: str, planned: PlannedRun, cap_bytes: int | None, changes: Sequence[Change] = ()
) -> AdvisorError:
    """The card is too small for the plan, and for all that could be tried instead."""
    room = f"the cap is {gib(cap_bytes)}" if cap_bytes else _room()
    predicted = estimated_bytes(planned, "peak_reserved_bytes")
    surprise = (
        "" if cap_bytes and predicted > cap_bytes else "; please report the plan, for it should have fitted"
    )
    said = f"; the plan predicted a peak of {gib(predicted)} reserved, {room}" if predicted else f"; {room}"
    tried = f"; {len(changes)} gentler configurations ran out, too" if changes else ""
    return AdvisorError(
        "The card ran out of memory.",
        why=f"{why}{said}{tried}",
        fix="plan with a smaller --micro-batch or --sequence-length, with checkpointing, or with --reserve"
        + surprise,
        exit_code=ExitCode.NO,
    )


def _room() -> str:
    if not torch.cuda.is_available():
        return "and there is no card here"
    free, total = torch.cuda.mem_get_info()
    return f"{gib(free)} of the card's {gib(total)} are free now"


def _full_disk(output: Path) -> AdvisorError:
    kept = last_checkpoint(output)
    return AdvisorError(
        f"The disk of {output} is full.",
        why="the weights could not be written; "
        + (f"{kept} was kept" if kept else "nothing half-written stays"),
        fix="free some space" + (", then run again: it goes on from there" if kept else ", then run again"),
        exit_code=ExitCode.ENVIRONMENT,
    )


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, Exception) and any(word in str(error) for word in words)
