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
    """Start watching; the returned function gives the peak since then in MiB.

    On an accelerator: what `devices.peak_memory_mb` counts there. On a CPU: the peak of the whole process - Python,
    torch and every model it holds included; None where the system cannot tell this subject's share from an
    earlier one's.
    """
    gc.collect()
    devices.reset_peak_memory(device)
    if device.type != "cpu":
        return lambda: devices.peak_memory_mb(device)
    was_reset = _reset_process_peak()
    before = devices.peak_memory_mb(device)

    def peak() -> float | None:
        after = devices.peak_memory_mb(device)
        if was_reset or after is None or before is None:
            return after
        # The peak of the process's whole life (macOS): it is this subject's only if this subject raised it.
        return after if after > before else None

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
