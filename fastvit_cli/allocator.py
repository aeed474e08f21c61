"""The C library's allocator. What a network frees after one operation, the next one needs again."""

import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, in malloc.h
_NEVER = 2**31 - 1
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors; faster on a CPU, above all at batches beyond one.

    By default glibc gives large blocks back to the system at once, and the kernel clears their pages again for the
    next operation. Call this before the first tensor. It changes nothing where the C library is another one, where
    another allocator is preloaded, and where the environment already sets glibc's (`MALLOC_…`, `GLIBC_TUNABLES`).

    Returns:
        Whether memory is kept from now on.
    """
    if sys.platform != "linux" or _is_set_by_user():
        return False
    import ctypes

    program = ctypes.CDLL(None)
    try:
        library = ctypes.CDLL("libc.so.6")
        if _address(program.malloc) != _address(library.malloc):  # another allocator is preloaded
            return False
        # Without mmap all blocks come from the heap, which is then never given back.
        return bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, _NEVER))
    except (OSError, AttributeError):  # not glibc
        return False


def _is_set_by_user() -> bool:
    return any(name in os.environ for name in _SET_BY_USER) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")


def _address(function: object) -> int | None:
    import ctypes

    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]  # a function of a library is one
