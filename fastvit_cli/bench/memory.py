"""Peak memory of one subject among several in the same process."""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli import devices

if TYPE_CHECKING:
    import torch


def watch_peak_memory(device: "torch.device") -> Callable[[], float | None]:
    """Start watching; the returned function gives the peak above what there is now, in MiB.

    On CUDA of the device's memory, else of the process: what this subject added to Python, the libraries and the
    models that are held already. None where the system cannot tell this subject's share from an earlier one's.
    """
    gc.collect()
    devices.reset_peak_memory(device)
    if device.type != "cpu":
        held = devices.peak_memory_mb(device) or 0.0  # just reset: what is held now
        return lambda: None if (peak := devices.peak_memory_mb(device)) is None else peak - held
    was_reset = _reset_process_peak()
    before = devices.peak_memory_mb(device)

    def peak() -> float | None:
        after = devices.peak_memory_mb(device)
        if after is None or before is None:
            return None
        # Where the peak is that of the process's whole life (macOS), it tells nothing unless this subject raised it.
        return after - before if was_reset or after > before else None

    return peak


def _reset_process_peak() -> bool:
    """Make the process's peak its present size; whether the system can (Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    # What earlier subjects freed stays with the allocator unless told otherwise: without this, t8 after ma36
    # read 947 MiB instead of 813. Not every C library has it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return False
    return True
