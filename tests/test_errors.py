"""The error that is meant for a person, and the suggestion of what was probably typed."""

from __future__ import annotations

import pytest

from fastvit_cli import errors
from fastvit_cli.errors import FastViTError, WorkFailedError, closest


def test_message_and_hint() -> None:
    error = FastViTError("It is wrong.", "Type this.")
    assert (error.message, error.hint) == ("It is wrong.", "Type this.")
    assert str(error) == "It is wrong. Type this."
    assert str(FastViTError("Alone.")) == "Alone."


def test_library_users_can_catch_a_value_error() -> None:
    with pytest.raises(ValueError, match="wrong"):
        raise FastViTError("wrong")


def test_exit_codes() -> None:
    """They are part of the program's contract: scripts test them."""
    assert FastViTError("x").exit_code == 2
    assert WorkFailedError("x").exit_code == 1
    assert isinstance(WorkFailedError("x"), FastViTError)
    assert (errors.EXIT_DONE, errors.EXIT_FAILED, errors.EXIT_USAGE, errors.EXIT_INTERRUPTED) == (0, 1, 2, 130)


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("sa42", "Did you mean 'sa24'? "),
        ("t80", "Did you mean 't8'? "),
        ("resnet50", ""),
        ("ma36", ""),
        ("", ""),
    ],
)
def test_closest(word: str, suggestion: str) -> None:
    assert closest(word, iter(["t8", "sa24", "ma36"])) == suggestion


def test_closest_of_nothing() -> None:
    assert closest("t8", []) == ""
