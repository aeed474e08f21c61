"""Small pieces that every view is made of."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastvit_cli.names import printable


def facts(rows: Iterable[tuple[str, str | Text]], title: str | None = None) -> Table:
    """Names and values in two columns, without lines."""
    table = Table(box=None, show_header=False, title=_title(title), title_justify="left", padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _plain(value))
    return table


def data_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: int = 1, title: str | None = None
) -> Table:
    """A table with a ruled header; the first `left` columns hold text, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=_title(title), title_justify="left", pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(
            name, justify="left" if position < left else "right", overflow="fold", no_wrap=position >= left
        )
    for row in rows:
        table.add_row(*map(_plain, row))
    return table


def _plain(cell: str | Text) -> Text:
    """As it is: names of files and classes may hold brackets, which rich takes for styles."""
    return cell if isinstance(cell, Text) else Text(printable(cell))


def _title(title: str | None) -> Text | None:
    return None if title is None else Text(title, style="bold")


def verdict(passed: bool) -> Text:
    """passed or FAILED, readable without colour."""
    return Text("passed", style="green") if passed else Text("FAILED", style="bold red")


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(size_bytes: int) -> str:
    """`15.6 MB` or `4.6 GB`, decimal as files are shown."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def next_commands(commands: Sequence[str]) -> RenderableType:
    """Commands to type next, one a line and never broken, so that they can be copied."""
    lines = [Text(f"  {command}", style="cyan", no_wrap=True, overflow="ignore") for command in commands]
    return Group(Text("Next", style="bold"), *lines)
