"""Where text is shown, as long as somebody reads it."""

import os

from rich.console import Console


class Terminal(Console):
    """rich's, but a reader that is gone is an error like any other: rich would end the program where it stands."""

    def on_broken_pipe(self) -> None:
        """Called by rich while the error is handled."""
        self.quiet = True
        # What is still buffered would fail again when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
        raise  # the BrokenPipeError
