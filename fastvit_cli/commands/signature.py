"""From a config dataclass to a Typer command: the options are declared once, in the dataclass."""

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any

import typer

from fastvit_cli.compat import usage_error
from fastvit_cli.distributed import find_world
from fastvit_cli.errors import EXIT_INTERRUPTED, FastViTError
from fastvit_cli.limits import refuse_small_address_space
from fastvit_cli.options import (
    AUTO_NUMBER,
    AUTO_WORD,
    ComputeConfig,
    OptionSpec,
    bounds_text,
    check_given,
    flag_of,
    option_spec,
)
from fastvit_cli.ui.session import Session, show_error

PANEL_COMMON = "Common"
_COMMON = frozenset(item.name for item in fields(ComputeConfig))
_METAVARS: dict[Any, str] = {int: "N", float: "X", bool: " "}

_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}

# What every command takes beside its config; how results and progress are shown is no matter of the core.
_OUTPUT_OPTIONS = {
    "json": "Print one JSON document on stdout and everything else on stderr.",
    "quiet": "No progress and no notes, only the result.",
    "verbose": "Show the libraries' own messages, and tracebacks of errors.",
}


def add_command(
    app: typer.Typer,
    run: Callable[[Any, Session], int],
    config_class: type[Any],
    build: Callable[[dict[str, Any]], Any] | None = None,
) -> None:
    """Add `run(config, session) -> exit code` to the app, under its own name, its docstring as the help.

    Args:
        config_class: frozen dataclass of `options.option` fields.
        build: makes the config from what was typed, where files and recipes come in; else the class itself.
    """
    name = run.__name__
    build = build or (lambda given: config_class(**given))

    def command(**values: Any) -> int:
        output = {key: bool(values.pop(key)) for key in _OUTPUT_OPTIONS}
        given = {key: _plain(value) for key, value in values.items() if value is not None}
        refuse_small_address_space()
        try:
            check_given(config_class, given)  # before any of it is used to find the rest
            return run(build(given), Session(name, **output))
        except KeyboardInterrupt:  # Typer would make a mere exit code of it
            if output["json"] and find_world().is_main:
                show_error(name, FastViTError("Interrupted."), as_json=True)
            return EXIT_INTERRUPTED

    parameters = [_parameter(item, hint) for item, hint in _option_fields(config_class)]
    parameters += [_flag(key, help) for key, help in _OUTPUT_OPTIONS.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = _unwrapped(inspect.getdoc(run) or "")
    app.command(name)(command)


def command_line(command: str, given: dict[str, Any], session: Session) -> list[str]:
    """The words that would give the same options again."""
    words = [command]
    for name, value in given.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"{flag}={AUTO_WORD if single == AUTO_NUMBER else single}" for single in values]
    return words + [f"--{key}" for key in _OUTPUT_OPTIONS if getattr(session, key)]


def _unwrapped(text: str) -> str:
    """Paragraphs as one line each: the terminal wraps them, wherever the source did."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _option_fields(config_class: type[Any]) -> list[tuple[Field[Any], Any]]:
    """Fields with their types, the model first, what every command has last."""
    hints = typing.get_type_hints(config_class)
    ordered = sorted(fields(config_class), key=lambda item: item.name in _COMMON)
    return [(item, hints[item.name]) for item in ordered if option_spec(item.metadata)]


def _parameter(item: Field[Any], hint: Any) -> inspect.Parameter:
    spec = option_spec(item.metadata)
    assert spec is not None
    flag, value_type = flag_of(item.name), _value_type(hint)
    if spec.positional:
        words = typer.Argument(help=spec.help, metavar=spec.metavar, show_default=False)
        return inspect.Parameter(
            item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[value_type | None, words]
        )
    info = typer.Option(
        f"{flag}/--no-{flag[2:]}" if value_type is bool else flag,
        help=spec.help + _default_text(item, spec),
        parser=_number_parser(flag, value_type, spec.auto) if value_type in _NUMBERS else None,
        rich_help_panel=spec.panel if item.name not in _COMMON else PANEL_COMMON,
        metavar=spec.metavar or "|".join(spec.choices) or ("N|auto" if spec.auto else _METAVARS.get(value_type)),
        show_default=False,  # the parameter's own is None, for "not typed"
    )
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[value_type | None, info]
    )


def _number_parser(flag: str, kind: type[int] | type[float], auto: bool) -> Callable[[str], float]:
    """What makes a number of the text that was typed; Typer's own would name neither the text nor `auto`."""

    def parse(text: str) -> float:
        if auto and text.strip().lower() == AUTO_WORD:
            return AUTO_NUMBER
        try:
            return kind(text)
        except ValueError:
            wanted = f"{_NUMBERS[kind]} or {AUTO_WORD}" if auto else _NUMBERS[kind]
            raise usage_error()(f"{flag} takes {wanted}, not '{text}'.") from None

    return parse


def _flag(name: str, help: str) -> inspect.Parameter:
    info = typer.Option(f"--{name}", help=help, rich_help_panel=PANEL_COMMON, metavar=" ")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, info])


def _value_type(hint: Any) -> Any:
    """`str | None` is str to Typer, `tuple[str, ...]` a repeatable option."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return list[typing.get_args(hint)[0]]  # type: ignore[misc]  # built from a runtime value
    return hint


def _default_text(item: Field[Any], spec: OptionSpec) -> str:
    """Default and bounds as the end of a help text, in rich markup; empty where there is nothing to tell."""
    default = item.default
    parts = [] if default in (None, MISSING, ()) else [f"default: {_shown(default)}"]
    if spec.default_text is not None:
        parts = [f"default: {spec.default_text}"]
    if bounds_text(spec) and item.name != "seed":
        parts.append(bounds_text(spec))
    return f" [dim]\\[{'; '.join(parts)}][/dim]" if parts else ""


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return ", ".join(default) if isinstance(default, tuple) else str(default)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
