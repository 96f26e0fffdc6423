"""Keeps a trace silent, steady and off the network: it runs libraries that think this is a run."""

import gc
import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

import huggingface_hub.constants


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches stdout, stderr or the hub."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", new=True),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def steady_garbage() -> Iterator[None]:
    """Cycles are collected only where the step itself asks for it, so that each trace is like the last.

    What was there before is left out of those collections, which makes them short.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()  # what the trace left behind
        gc.unfreeze()
        if was_enabled:
            gc.enable()
