"""One run of one command as its user sees it: notes and progress on stderr, the result on stdout."""

import contextlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastvit_cli.atomic import write_text
from fastvit_cli.errors import FastViTError, unexpected
from fastvit_cli.names import printable, visible

if TYPE_CHECKING:  # `fastvit --help` passes through here, and rich takes longer to import than all the rest
    from rich.console import RenderableType
    from rich.progress import Progress

SCHEMA_VERSION = 1


class Session:
    """Consoles and the three output options of a command.

    Args:
        command: its name, for the JSON envelope.
        json, quiet, verbose: the options of the same names.

    Attributes:
        device: what the command computes on, for the JSON envelope.
    """

    def __init__(self, command: str, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        from fastvit_cli.ui.console import Terminal

        self.command = command
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.device = "cpu"
        self.stderr = Terminal(stderr=True, quiet=quiet, highlight=False)
        self.stdout = Terminal(highlight=False)
        if not verbose:
            hide_library_noise()

    @property
    def live(self) -> bool:
        """Whether progress can be drawn over itself; else it is printed as plain lines."""
        return self.stderr.is_terminal and not self.quiet

    def silent(self) -> "Session":
        """The same command in a process that shows nothing, not even its result."""
        session = Session(self.command, quiet=True, verbose=self.verbose)
        session.stdout.quiet = True
        return session

    def note(self, text: str, style: str = "") -> None:
        """One line for the person who watches. Plain text: a path may hold what would be markup."""
        from rich.text import Text

        self.stderr.print(Text(visible(text), style=style), soft_wrap=True)

    def unreadable(self, bad: Any) -> None:
        """One line for an image that cannot be read: anything with a `name` and a `reason`."""
        self.note(f"Cannot read '{bad.name}' ({bad.reason}).", style="yellow")

    def finish(
        self, result: Any, view: "RenderableType", write: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """Show the frozen result, as JSON on stdout or as the view of it, then `write` its files from its envelope.

        Neither costs the other: files are written though the reader of stdout went away, and what goes wrong with
        them is said beside the result, never as a second document.
        """
        from fastvit_cli.ui.console import writing_to_stdout

        try:
            with writing_to_stdout():
                if self.json:
                    print_json(self.envelope(result))
                else:
                    self.stdout.print(view, crop=False)  # code does not fit everywhere, and nothing may be missing
        finally:
            if write is not None:
                _write_after_the_result(write, self.envelope(result))

    def envelope(self, result: Any) -> dict[str, Any]:
        """The JSON document around a result."""
        return {
            "schema": SCHEMA_VERSION,
            "command": self.command,
            "environment": {**environment(), "device": self.device},
            "result": result,
        }

    @contextlib.contextmanager
    def bar(self, label: str) -> Iterator["Bar"]:
        """A progress bar while the block runs; a single plain line when not on a terminal."""
        if not self.live:
            self.note(f"{label} …")
            yield Bar(None, label)
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.stderr, transient=True) as progress:
            yield Bar(progress, label)


def _write_after_the_result(write: Callable[[dict[str, Any]], None], envelope: dict[str, Any]) -> None:
    try:
        write(envelope)
    except FastViTError as error:
        error.after_result = True
        raise
    except Exception as error:
        wrapped = unexpected(error)
        wrapped.after_result = True
        raise wrapped from error


class Bar:
    """A bar that may not be drawn; it swings until the first `update` says how much there is."""

    def __init__(self, progress: "Progress | None", label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None, count="") if progress else None

    def update(self, done: int, total: int | None) -> None:
        if self._progress is not None and self._task is not None:
            count = "" if total is None else f"{done:,}/{total:,}"
            self._progress.update(self._task, completed=done, total=total, count=count)

    def describe(self, text: str) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=text)


def print_json(document: Any, indent: int | None = 2) -> None:
    """One JSON document on stdout, on one line without `indent`."""
    from fastvit_cli.ui.console import closed_terminal_ignored

    has_all = sys.stdout.encoding.lower().startswith("utf")  # else JSON's own escapes stand for what it lacks
    with closed_terminal_ignored(sys.stdout):
        sys.stdout.write(_json_text(document, indent, ensure_ascii=not has_all))


def write_json_file(path: Path, document: Any) -> None:
    """The same in a file, whole or not at all.

    Raises:
        FastViTError: the folder cannot be written.
    """
    write_text(path, _json_text(document))


def _json_text(document: Any, indent: int | None = 2, ensure_ascii: bool = False) -> str:
    return json.dumps(_jsonable(document), indent=indent, allow_nan=False, ensure_ascii=ensure_ascii) + "\n"


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _jsonable(asdict(value))
    if isinstance(value, dict):
        return {printable(str(key)): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, str | Path):
        return printable(str(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows neither NaN nor infinity
    return value


def environment() -> dict[str, str]:
    """Versions that a result depends on, read without importing the libraries."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("fastvit", "torch", "torchvision", "timm", "numpy", "onnx", "onnxruntime", "coremltools"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def show_error(command: str | None, error: FastViTError, as_json: bool) -> None:
    """The two lines of a user's mistake, or the JSON of it: what is wrong, and what to type instead."""
    if as_json:
        print_json(
            {
                "schema": SCHEMA_VERSION,
                "command": command,
                "error": {"message": error.message, "hint": error.hint},
            }
        )
        return
    from fastvit_cli.ui.console import Terminal

    console = Terminal(stderr=True, highlight=False)
    console.print(f"[bold red]Error:[/] {_escape(error.message)}", soft_wrap=True)
    if error.hint:
        console.print(f"[bold]Hint:[/]  {_escape(error.hint)}", soft_wrap=True)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(visible(text))


def hide_library_noise() -> None:
    """Keep warnings and log lines of the libraries from the screen; `--verbose` leaves them."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it sets its logger's level itself when it is imported
    for name in ("torch", "timm", "coremltools", "onnxscript", "onnx_ir", "matplotlib", "PIL", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
