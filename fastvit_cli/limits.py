"""Limits of the system: what they leave, and what to say where one is reached."""

import errno
import importlib.util
from pathlib import Path

from fastvit_cli.compat import resource_module
from fastvit_cli.errors import FastViTError, WorkFailedError

_NO_FILES = ("Too many open files", "items of ancdata")  # the second where a process is sent one
_NO_MEMORY = (
    *("out of memory", "not enough memory", "allocate memory", "bad_alloc"),
    # Of a library, a thread's stack, oneDNN's buffers.
    *("failed to map segment", "can't start new thread", "could not create a primitive"),
)


def limit_reached(error: BaseException) -> WorkFailedError | None:
    """What to say of an error that a limit of the system has caused; None for others."""
    text, number = str(error).lower(), getattr(error, "errno", None)
    if number in (errno.EMFILE, errno.ENFILE) or any(mark.lower() in text for mark in _NO_FILES):
        return WorkFailedError(
            "The limit of open files is reached.", "Raise it (ulimit -n 4096), or pass fewer --workers; 0 needs none."
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(mark in text for mark in _NO_MEMORY):
        return WorkFailedError(
            "There is no memory left, or its limit (ulimit -v) is reached.",
            "Raise the limit, end what else runs, or pass fewer --workers or a smaller --batch-size.",
        )
    return None


def open_files_left() -> int | None:
    """How many more files this process may open; None where the system does not tell."""
    resource = resource_module()
    if resource is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return None if limit == resource.RLIM_INFINITY else limit - len(list(Path("/dev/fd").iterdir()))
    except OSError:
        return None


def refuse_small_address_space() -> None:
    """Before anything heavy is imported: its libraries end the program where they find no room, without a word.

    Raises:
        FastViTError: the limit is below what torch takes.
    """
    resource = resource_module()
    if resource is None:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    needed = _size_of_torch()
    if limit < needed:
        raise FastViTError(
            f"The address space is limited to {limit / 1e9:.1f} GB, and PyTorch takes about {needed / 1e9:.1f}.",
            "Raise the limit: ulimit -v unlimited.",
        )


def _size_of_torch() -> int:
    """Bytes of its libraries that are mapped when it is imported, with CUDA's beside it: measured, 77 % of all."""
    found = importlib.util.find_spec("torch")
    folders = found.submodule_search_locations if found else None
    if not folders:
        return 0
    torch = Path(folders[0])
    libraries = [*(torch / "lib").glob("*.so*"), *(torch.parent / "nvidia").rglob("*.so*")]
    return int(0.77 * sum(path.stat().st_size for path in libraries))
