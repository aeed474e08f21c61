"""One process at a time trains a run."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastvit_cli.compat import file_locks
from fastvit_cli.errors import FastViTError

_LOCK = ".lock"


@contextlib.contextmanager
def owned(run_dir: Path) -> Iterator[None]:
    """Keep other processes from training the run while the block runs; on Windows nothing does.

    The lock goes with its process, however that ends. The file alone means nothing.

    Raises:
        FastViTError: another process trains the run, or the folder cannot be written.
    """
    if file_locks() is None:
        yield
        return
    path = run_dir / _LOCK
    file = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is locked, or it might be another process's by now
        file.close()


def _locked(path: Path) -> IO[str]:
    fcntl = file_locks()
    assert fcntl is not None
    while True:
        try:
            file = path.open("a+")
        except OSError as error:
            raise FastViTError(
                f"Cannot write to '{path.parent}' ({error.strerror}).", "Pass a run folder that you may write."
            ) from error
        try:
            # Not flock, whose lock the worker processes would inherit, and keep for as long as they outlive this one.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return file  # a file system without locks
            with file:
                file.seek(0)
                owner = file.read().strip()
            raise FastViTError(
                f"'{path.parent}' is being trained by {owner or 'another process'}.",
                "Wait for its end, or pass another run folder.",
            ) from error
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # its owner has ended, and removed it, after it was opened here
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file
