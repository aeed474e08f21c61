"""Small pieces that every view is made of."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fastvit_cli.names import visible

_WHOLE = 24  # characters of a name that is easily read
_FOLDED = 12  # and of one that still can be
_ENDLESS = 10_000
_BAR = 16
_TONES = {"": "", "good": "green", "bad": "bold red"}


@dataclass(frozen=True)
class Row:
    """A row of a table, in a terminal and on a page.

    Attributes:
        color: of a sign before the first cell, as in the figures.
        bar: length of a bar in the last column, 0 to 1.
        depth: how far the first cell is moved to the right, in steps.
        tone: of the last cell: good, bad or neither.
        error: what stands in place of the numbers on a page.
    """

    cells: tuple[str, ...]
    color: str = ""
    bar: float | None = None
    depth: int = 0
    tone: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Sheet:
    """What a table holds, wherever it is shown; the first `text` columns are words, the others numbers."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    text: int = 1


def terminal_table(sheet: Sheet, title: str | None = None) -> "DataTable":
    """The sheet for a terminal; its bars are lines of blocks."""
    bars = any(row.bar is not None for row in sheet.rows)
    rows: list[tuple[str | Text, ...]] = []
    for row in sheet.rows:
        first, *others, last = row.cells
        bar = [Text("█" * round((row.bar or 0.0) * _BAR), style="cyan", justify="left")] if bars else []
        rows.append(("  " * row.depth + first, *others, Text(visible(last), style=_TONES[row.tone]), *bar))
    return data_table((*sheet.columns, *([""] if bars else [])), rows, sheet.text, title)


def facts(rows: Iterable[tuple[str, str | Text]], title: str | Text | None = None) -> Table:
    """Names and values in two columns, without lines."""
    table = Table(box=None, show_header=False, title=_title(title), title_justify="left", padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _plain(value))
    return table


def data_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: int = 1, title: str | None = None
) -> "DataTable":
    """A table with a ruled header; the first `left` columns hold text, the others numbers."""
    return DataTable(columns, [tuple(map(_plain, row)) for row in rows], left, _title(title))


@dataclass(frozen=True)
class DataTable:
    """See `data_table`. Whatever the width, all of it is shown, and no number is broken.

    Where there is little room the columns move together and text is folded; where there is less, each row becomes a
    list of its own.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]
    left: int
    title: Text | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(tight=False)
        if _width(console, options, table) > options.max_width:
            table = self._table(tight=True)
        if self.width(console, options, _FOLDED) <= options.max_width:
            yield table
        else:
            yield self._lists()

    def width(self, console: Console, options: ConsoleOptions, text: int) -> int:
        """What it takes when no text is folded to less than so many characters."""
        return _width(console, options, self._table(tight=True, text=text))

    def _table(self, tight: bool, text: int | None = None) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD, title=self.title, title_justify="left", pad_edge=False, collapse_padding=tight
        )
        for position, name in enumerate(self.columns):
            if position < self.left:
                table.add_column(name, overflow="fold", max_width=text)
            else:
                table.add_column(name, justify="right", overflow="ellipsis", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def _lists(self) -> Table:
        lines: list[tuple[str, str | Text]] = []
        for row in self.rows:
            lines.append(("", ""))
            lines += [(name, cell) for name, cell in zip(self.columns, row, strict=True) if name]
        return facts([*lines, ("", "")], self.title)


class FirstThatFits:
    """The first of some tables that there is room for with its names whole, or nearly; else the last."""

    def __init__(self, *tables: DataTable) -> None:
        self._tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fitting = (table for table in self._tables if table.width(console, options, _WHOLE) <= options.max_width)
        yield next(fitting, self._tables[-1])


def _width(console: Console, options: ConsoleOptions, table: Table) -> int:
    """What it takes on a terminal without an end."""
    return Measurement.get(console, options.update(max_width=_ENDLESS), table).maximum


def _plain(cell: str | Text) -> Text:
    """As it is: names of files and classes may hold brackets, which rich takes for styles."""
    return cell if isinstance(cell, Text) else Text(visible(cell))


def _title(title: str | Text | None) -> Text | None:
    return Text(visible(title), style="bold") if isinstance(title, str) else title


def model_name(model: str) -> str:
    """What to call a model in a title: a run by its folder, another file by its name."""
    path = Path(model)
    if path.is_absolute() or path.exists():
        folder = path.absolute().parent
        if (folder / "config.yaml").is_file():
            return visible(folder.name if path.name == "best.safetensors" else f"{folder.name}/{path.name}")
        return visible(path.name)
    return visible(model)


def data_name(data: str) -> str:
    """What to call a data set in a title: a folder by its name, another one whole."""
    return visible(Path(data).name if Path(data).is_absolute() else data)


def told_apart(short: dict[str, str]) -> dict[str, str]:
    """The short name of each whole one, and the whole one where two would be called alike."""
    alike = Counter(short.values())
    return {whole: name if alike[name] == 1 else visible(whole) for whole, name in short.items()}


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
