"""Errors that are meant for the person who typed the command, and the exit codes of the program."""

import difflib
import errno
from collections.abc import Iterable

STANDARD_OUTPUT = "standard output"  # the name of the file in an `OSError` of printing a result
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
        after_result: stdout takes no JSON document any more: the result is there already, or nothing can be.
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


_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_TEMPORARY = "No usable temporary directory"  # Python's own words, where every folder for them is full


def unexpected(error: Exception) -> FastViTError:
    """What to say of what was not foreseen, in two lines too: where nothing can be written, else a bug of ours."""
    return _nothing_written(error) or WorkFailedError(
        f"Something went wrong inside fastvit: {type(error).__name__}: {' '.join(str(error).split())}",
        "Run it again with --verbose for the traceback, and please report it.",
    )


def conversion_failed(what: str, error: Exception) -> FastViTError:
    """The error of a library that could not convert a network: they raise many types, none of them documented."""
    return _nothing_written(error) or WorkFailedError(
        f"{what} ({type(error).__name__}: {first_line(error)}).",
        "See that the disk of TMPDIR has room; else run again with --verbose, and report the traceback.",
    )


def _nothing_written(error: Exception) -> WorkFailedError | None:
    """For a full disk, or a reader of the result that went away; None for anything else."""
    if isinstance(error, BrokenPipeError):
        found = WorkFailedError("Nobody reads the result: the pipe was closed.", "Read all of it.")
        found.after_result = True
        return found
    if not isinstance(error, OSError) or not (error.errno in _FULL or _NO_TEMPORARY in str(error)):
        return None
    reason = error.strerror or error
    if error.filename == STANDARD_OUTPUT:
        found = WorkFailedError(f"Writing to standard output failed ({reason}).", "Free some space where it goes.")
        found.after_result = True
        return found
    where = f" '{error.filename}'" if error.filename else ""
    return WorkFailedError(
        f"Writing{where} failed ({reason}).", "Free some space; temporary files go to the folder that TMPDIR names."
    )


def first_line(error: Exception) -> str:
    """What a library says went wrong, without what follows; the kind of error where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def excerpt(value: object, length: int = 80) -> str:
    """What a file says, for a message: on one line, invisible characters escaped, and no longer than that."""
    text = str(value)[: length + 1]
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def closest(word: str, choices: Iterable[str]) -> str:
    """Return "Did you mean 'x'? " for the closest of `choices`, or an empty string.

    >>> closest("sa42", ["sa24", "t8"])
    "Did you mean 'sa24'? "
    """
    others = [choice for choice in choices if choice != word]  # a broken link is listed, but not there
    matches = difflib.get_close_matches(word, others, n=1, cutoff=0.5)
    return f"Did you mean '{matches[0]}'? " if matches else ""
