"""Files that appear whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastvit_cli.errors import FastViTError
from fastvit_cli.names import ODD

_STEM = 40  # letters of a name that a temporary one keeps, at most 4 bytes each


@contextlib.contextmanager
def replaced_when_done(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, and rename it to `path` when the block succeeded.

    The content is on disk before the rename, so that a crash leaves the old file or the new one.

    Raises:
        FastViTError: the folder cannot be made or written.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise FastViTError(
            f"Writing '{path}' failed ({error.strerror or error}).",
            "Free some space, there and where TMPDIR is, or pass another --output.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def temporary_prefix(path: Path) -> str:
    """How a temporary name begins: not with the whole name, beside which a long one has no room for more."""
    return f".{path.stem[:_STEM]}."


def check_writable(path: Path) -> None:
    """Find out before the work whether its result can be written, and make the folder; raises the same."""
    _temporary(path).unlink()


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse to overwrite an output that exists.

    Raises:
        FastViTError: the output exists and `force` is not set, or can have no such name.
    """
    try:
        exists = path.exists() or path.is_symlink()
    except OSError as error:  # the name is too long
        raise FastViTError(f"Cannot write '{path}' ({error.strerror}).", "Pass another --output.") from error
    if exists and not force:
        raise FastViTError(f"The output '{path}' exists.", "Pass --force to overwrite it, or another --output.")


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8; raises as `replaced_when_done`."""
    with replaced_when_done(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ODD)


def _temporary(path: Path) -> Path:
    """An empty file beside `path`, in a folder that is made for it."""
    try:
        if path.is_dir():
            raise FastViTError(f"'{path}' is a folder.", "Pass --output with the name of a file.")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(path), suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise FastViTError(
            f"Cannot write to '{path.parent}' ({error.strerror or error}).",
            "Pass --output with a folder you may write.",
        ) from error
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
