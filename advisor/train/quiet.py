"""Silence for libraries that talk as if each were alone; what matters of it is said in notes and errors."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

_TALKERS = ("transformers", "bitsandbytes", "accelerate", "peft", "trl")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No warnings, progress bars or log lines below an error while this is open."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        transformers_logging.enable_progress_bar()
