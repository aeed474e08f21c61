"""The formats that `export` writes, as `export --list` shows them."""

import sys
from dataclasses import dataclass

from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import FORMATS, Format, require_modules
from fastvit_cli.options import flag_of


@dataclass(frozen=True)
class FormatRow:
    """A row of `export --list`.

    Attributes:
        available: this machine can write the format now.
        install: the pip command for what is missing; None when nothing is, or nothing can be done here.
    """

    name: str
    title: str
    suffix: str
    precisions: tuple[str, ...]
    options: tuple[str, ...]
    platforms: str
    extra: str | None
    available: bool
    install: str | None


@dataclass(frozen=True)
class FormatList:
    """What `export --list` shows."""

    formats: tuple[FormatRow, ...]


def list_formats() -> FormatList:
    """The table, as it holds on this machine."""
    return FormatList(tuple(map(_row, FORMATS.values())))


def _row(target: Format) -> FormatRow:
    available, install = sys.platform not in target.not_on, None
    try:
        require_modules(target.needs, target.title, target.extra)
    except FastViTError as error:
        command = error.hint.removeprefix("Run: ")
        available, install = False, None if command == error.hint else command  # there may be none for this machine
    return FormatRow(
        name=target.name,
        title=target.title,
        suffix=target.suffix,
        precisions=target.precisions,
        options=tuple(map(flag_of, target.options)),
        platforms="Linux, macOS" if "win32" in target.not_on else "any",
        extra=target.extra,
        available=available,
        install=install,
    )
