"""Errors that are meant for the person who typed the command, and the exit codes of the program."""

import difflib
from collections.abc import Iterable

EXIT_DONE = 0
EXIT_FAILED = 1  # the work was tried and failed: a check did not hold, training diverged
EXIT_USAGE = 2  # the input is wrong
EXIT_LOST_PEER = 75  # between the processes of one run only: another one ended first
EXIT_INTERRUPTED = 130  # Ctrl-C
EXIT_TERMINATED = 143  # SIGTERM, or SIGHUP of a terminal that closed; of a training run with the state saved


class FastViTError(ValueError):
    """The user's input is wrong.

    Args:
        message: what is wrong, one line.
        hint: what to type or do instead, one line.

    Attributes:
        after_result: the result was shown already, so that a JSON document is on stdout.
    """

    exit_code = EXIT_USAGE
    after_result = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class WorkFailedError(FastViTError):
    """The input was fine and the work was done, but its outcome must not be trusted."""

    exit_code = EXIT_FAILED


def unexpected(error: Exception) -> FastViTError:
    """What to say of a bug of ours: two lines as well, the traceback on request."""
    return WorkFailedError(
        f"Something went wrong inside fastvit: {type(error).__name__}: {error}",
        "Run it again with --verbose for the traceback, and please report it.",
    )


def first_line(error: Exception) -> str:
    """What a library says went wrong, without what follows; the kind of error where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def closest(word: str, choices: Iterable[str]) -> str:
    """Return "Did you mean 'x'? " for the closest of `choices`, or an empty string.

    >>> closest("sa42", ["sa24", "t8"])
    "Did you mean 'sa24'? "
    """
    others = [choice for choice in choices if choice != word]  # a broken link is listed, but not there
    matches = difflib.get_close_matches(word, others, n=1, cutoff=0.5)
    return f"Did you mean '{matches[0]}'? " if matches else ""
