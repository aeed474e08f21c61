"""Keeping the chatter of conversion libraries off the user's terminal; their errors still raise."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

_CHATTY = ("coremltools", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop warnings, log lines below errors, and progress bars of the converters."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _no_progress_bars():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Turn tqdm off, which coremltools uses without an option to say no.

    Redirecting stderr instead would swallow the spinner that shows meanwhile that something happens.
    """
    try:
        tqdm: Any = importlib.import_module("tqdm").tqdm
    except ImportError:  # then nobody draws bars with it
        yield
        return
    original = tqdm.__init__

    def disabled(bar: object, *args: object, **options: object) -> None:
        original(bar, *args, **{**options, "disable": True})

    tqdm.__init__ = disabled
    try:
        yield
    finally:
        tqdm.__init__ = original
