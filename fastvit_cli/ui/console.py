"""rich's console, safe against closed pipes and control characters."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fastvit_cli.errors import STANDARD_OUTPUT
from fastvit_cli.names import visible


class Terminal(Console):
    """rich's, but a reader that is gone is an error like any other: rich would end the program where it stands.

    And text is text: no name of a file or a class moves the cursor or clears the screen.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text="\n".join(map(visible, segment.text.split("\n"))))

    def on_broken_pipe(self) -> None:
        """Called by rich while the error is handled."""
        self.quiet = True
        _write_nowhere(self.file)
        raise  # the BrokenPipeError

    def _check_buffer(self) -> None:  # where rich writes; it has no public place to handle other errors
        with closed_terminal_ignored(self.file):
            super()._check_buffer()


@contextlib.contextmanager
def writing_to_stdout() -> Iterator[None]:
    """Write all that the block prints, or say in the error that it was standard output which took no more.

    Raises:
        OSError: the disk is full, or nobody reads.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        error.filename = STANDARD_OUTPUT
        with contextlib.suppress(OSError, ValueError):  # stands for no file
            if sys.stdout.fileno() == 1:
                _write_nowhere(sys.stdout)
        raise


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
