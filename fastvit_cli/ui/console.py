"""Where text is shown, as long as somebody reads it."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import IO

from rich.console import Console


class Terminal(Console):
    """rich's, but a reader that is gone is an error like any other: rich would end the program where it stands."""

    def on_broken_pipe(self) -> None:
        """Called by rich while the error is handled."""
        self.quiet = True
        _write_nowhere(self.file)
        raise  # the BrokenPipeError

    def _check_buffer(self) -> None:  # where rich writes; it has no public place to handle other errors
        with closed_terminal_ignored(self.file):
            super()._check_buffer()


@contextlib.contextmanager
def closed_terminal_ignored(file: IO[str]) -> Iterator[None]:
    """Go on without the output when its terminal closes: its SIGHUP has said whether the program is to end."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        _write_nowhere(file)


def _write_nowhere(file: IO[str]) -> None:
    """What is still buffered would fail again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)
