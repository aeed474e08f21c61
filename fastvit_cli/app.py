"""The `fastvit` program. Nothing heavy is imported until a command runs."""

import contextlib
import io
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fastvit_cli.allocator import keep_freed_memory
from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.commands.bare_options import insert_bare_values
from fastvit_cli.commands.bench import bench
from fastvit_cli.commands.check import check
from fastvit_cli.commands.export import export
from fastvit_cli.commands.predict import predict
from fastvit_cli.commands.reparam import reparam
from fastvit_cli.commands.signature import add_command
from fastvit_cli.commands.train import train
from fastvit_cli.commands.validate import validate
from fastvit_cli.compat import hang_up_signal, usage_error
from fastvit_cli.data.data_options import CheckConfig
from fastvit_cli.devices import share_the_cores
from fastvit_cli.distributed import LostPeerError, find_world
from fastvit_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TERMINATED, FastViTError, unexpected
from fastvit_cli.evaluation.validate_options import PredictConfig, ValidateConfig
from fastvit_cli.exporters.export_options import ExportConfig, ReparamConfig
from fastvit_cli.limits import limit_reached
from fastvit_cli.names import ODD
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.ui.session import show_error
from fastvit_cli.version import __version__

# Before another process of a run than the first prints its error: a mistake that all of them find is said by the
# first, whose end takes the others along meanwhile.
_HEAD_START_S = 3.0
_TERMINATING = tuple(filter(None, (signal.SIGTERM, hang_up_signal())))


class _PlainGroup(TyperGroup):
    """The overview as plain text: the framed form would take longer to import than to read."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super(TyperGroup, self).format_help(ctx, formatter)


app = typer.Typer(
    name="fastvit",
    cls=_PlainGroup,
    help="Check images, then train, validate, use, fuse, export and time FastViT image models.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastvit {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Check images, then train, validate, use, fuse, export and time FastViT image models."""


add_command(app, check, CheckConfig)
add_command(app, train, TrainConfig, build=dict)  # recipe and files come in once the data is known
add_command(app, validate, ValidateConfig)
add_command(app, predict, PredictConfig)
add_command(app, reparam, ReparamConfig)
add_command(app, export, ExportConfig)
add_command(app, bench, BenchConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code (see `fastvit_cli.errors`).

    Args:
        argv: the words after the program's name; None takes those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ODD)  # a result must not be lost for a character that a terminal lacks
    words = insert_bare_values(sys.argv[1:] if argv is None else argv) or ["--help"]
    command = next((word for word in words if not word.startswith("-")), None)
    if command != "bench":  # which is alone on the machine, and times what any program of the user's would see
        share_the_cores()
        keep_freed_memory()
    as_json, verbose = "--json" in words, "--verbose" in words
    try:
        with _terminated_as_any_error():
            code = app(words, prog_name="fastvit", standalone_mode=False)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except usage_error() as error:
        help_command = f"fastvit {command} --help" if command in _command_names() else "fastvit --help"
        wrapped = FastViTError(error.format_message(), f"Type '{help_command}' for the options.")
        return _report(command, wrapped, error, as_json, verbose)
    except FastViTError as error:
        return _report(command, error, error, as_json, verbose)
    except Exception as error:
        limit = limit_reached(error)
        if limit is not None:
            sys.unraisablehook = lambda _: None  # what libraries left half built complains when it goes
        return _report(command, limit or unexpected(error), error, as_json, verbose)
    return code if isinstance(code, int) else EXIT_DONE


@contextlib.contextmanager
def _terminated_as_any_error() -> Iterator[None]:
    """Let SIGTERM and SIGHUP pass through every `finally` while the block runs, so that nothing half-written is left.

    Training listens itself. Outside the main thread Python takes no handlers. Under nohup SIGHUP stays ignored.

    Raises:
        SystemExit: with the code of a program that was terminated.
    """
    listened = [number for number in _TERMINATING if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread() or not listened:
        yield
        return
    terminated = False

    def terminate(_number: int, _frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise SystemExit(EXIT_TERMINATED)

    for number in listened:
        signal.signal(number, terminate)
    try:
        yield
    except Exception as error:
        if terminated:  # torch's compilers make errors of their own of whatever is raised inside them
            raise SystemExit(EXIT_TERMINATED) from error
        raise
    finally:
        for number in listened:
            signal.signal(number, signal.SIG_DFL)
    if terminated:  # and coremltools' imports swallow it
        raise SystemExit(EXIT_TERMINATED)


def _command_names() -> set[str]:
    return {info.name for info in app.registered_commands if info.name}


def _report(command: str | None, shown: FastViTError, cause: Exception, as_json: bool, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(cause, file=sys.stderr)
    if isinstance(shown, LostPeerError):
        return shown.exit_code  # the process that ended first has the better message
    if not find_world().is_main:
        time.sleep(_HEAD_START_S)
        shown.message = f"Process {find_world().rank}: {shown.message}"
    try:
        show_error(command, shown, as_json and not shown.after_result)
    except MemoryError:  # there was not even enough to show it
        sys.stderr.write(f"Error: {shown.message}\nHint:  {shown.hint}\n")
    return shown.exit_code


if __name__ == "__main__":
    sys.exit(main())
