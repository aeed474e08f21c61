"""Keeping the chatter of conversion libraries off the user's terminal; their errors still raise."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

# The empty name is the root logger, which coremltools.optimize writes to.
_CHATTY = ("", "coremltools", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")
_heard: ContextVar[bool] = ContextVar("heard", default=False)


@contextlib.contextmanager
def heard_libraries(wanted: bool) -> Iterator[None]:
    """While the block runs, `quiet_libraries` leaves the libraries their voice if `wanted`."""
    token = _heard.set(wanted)
    try:
        yield
    finally:
        _heard.reset(token)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop warnings, log lines below errors, and progress bars of the converters."""
    if _heard.get():
        yield
        return
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
