"""A benchmark for people: the table that fills while it runs, and the result."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from fastvit_cli.bench.events import (
    BenchEvent,
    BenchResult,
    BenchRow,
    Comparison,
    ProfileStarted,
    RoundDone,
    SubjectMeasured,
    SubjectStarted,
)
from fastvit_cli.runtimes.profile import Profile
from fastvit_cli.ui.bench_tables import (
    COST_NOTE,
    Columns,
    base_note,
    common_words,
    comparison_sheet,
    cost_columns,
    latency_columns,
    layer_sheet,
    measured_sheet,
    operation_sheet,
    profile_note,
    ratio_text,
)
from fastvit_cli.ui.session import Session
from fastvit_cli.ui.tables import FirstThatFits, terminal_table

_SHOWN_LAYERS = 24
_SHOWN_OPERATIONS = 12


class BenchView:
    """Listens to a benchmark: on a terminal a table of medians that is renewed each round, else a line a subject."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rows: dict[str, BenchRow] = {}
        self._status = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._session.live:
            self._live = Live(console=self._session.stderr, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: BenchEvent) -> None:
        if isinstance(event, SubjectStarted):
            self._status = f"Loading and warming up {event.position} of {event.total}: {event.row.label}"
            self._rows[event.row.label] = event.row
        elif isinstance(event, RoundDone):
            self._status = f"Timing, round {event.number} of {event.total}"
            self._rows.update({row.label: row for row in event.rows})
        elif isinstance(event, SubjectMeasured):
            self._rows.update({row.label: row for row in event.rows})
        elif isinstance(event, ProfileStarted):
            self._status = f"Profiling {event.label}"
        if self._live is not None:
            self._live.update(Group(results_table(list(self._rows.values())), Text(self._status)), refresh=True)
        elif isinstance(event, SubjectStarted | ProfileStarted) or (
            isinstance(event, RoundDone) and event.number == 1
        ):
            self._session.note(f"{self._status} …")


def bench_view(result: BenchResult) -> RenderableType:
    """Latency first, then cost, then where the time goes; at the end the machine and what makes it doubtful."""
    rows = result.results
    parts: list[RenderableType] = [results_table(rows)]
    parts += [Text(f"{row.label}: {row.error}", style="red", overflow="fold") for row in rows if row.error]
    parts += [Text(line, style="dim") for line in _footnotes(rows)]
    if any(row.error is None for row in rows):
        parts += [_cost_table(rows), Text(COST_NOTE, style="dim")]
    for profile in result.profiles:
        parts += [Text(), _profile_view(profile)]
    if result.comparison is not None:
        parts += [Text(), _comparison_view(result.comparison)]
    parts.append(Text(machine_line(result), style="dim"))
    parts += [Text(f"! {warning}", style="yellow") for warning in result.warnings]
    return Group(*parts)


def machine_line(result: BenchResult) -> str:
    """What the figures hold for, in one line."""
    machine = result.machine
    peaks = ", ".join(f"{value / 1e9:.0f} GFLOP/s on {name}" for name, value in result.peak_flops.items())
    where = ", ".join(dict.fromkeys(row.device for row in result.results))
    revision = f" ({machine.git_revision})" if machine.git_revision else ""
    return (
        f"{machine.cpu}, {machine.usable_cores} of {machine.logical_cores} cores, {where}, torch {machine.torch} "
        f"with {machine.torch_threads} threads, fastvit {machine.fastvit}{revision}, {machine.date}. "
        f"Matrix products reach {peaks}."
    )


def results_table(rows: Sequence[BenchRow]) -> RenderableType:
    """Latency, one row a measurement, in the order that was asked for."""
    columns = latency_columns(rows)
    usual = _without(columns, "mean", "trimmed")
    narrow = dict(usual)
    if "× base" in columns:
        narrow = {**_without(usual, "images/s"), "× base": lambda row: ratio_text(row, wide=False)}
    choices = (columns, usual, narrow, _without(narrow, "p90", "p99"))
    title = common_words(rows)
    return FirstThatFits(*(terminal_table(measured_sheet(rows, choice), title) for choice in choices))


def _without(columns: Columns, *names: str) -> Columns:
    return {name: of for name, of in columns.items() if name not in names}


def _footnotes(rows: Sequence[BenchRow]) -> list[str]:
    halves = ["± is half the width of the median's 95 % interval."] if any(row.interval_ms for row in rows) else []
    return halves + base_note(rows)


def _cost_table(rows: Sequence[BenchRow]) -> RenderableType:
    columns = cost_columns(rows)
    narrow = _without(columns, "MB", "load ms", "GFLOP/s")
    choices = (columns, narrow, _without(narrow, "compile ms", "first ms"))
    shown = [row for row in rows if row.error is None]
    return FirstThatFits(*(terminal_table(measured_sheet(shown, choice)) for choice in choices))


def _profile_view(profile: Profile) -> RenderableType:
    parts: list[RenderableType] = [
        Text(f"Where the time goes: {profile.label}", style="bold"),
        Text(profile_note(profile), style="dim"),
    ]
    parts += [terminal_table(layer_sheet(profile, _SHOWN_LAYERS))] if profile.layers else []
    return Group(*parts, terminal_table(operation_sheet(profile, _SHOWN_OPERATIONS)))


def _comparison_view(comparison: Comparison) -> RenderableType:
    """The rows that changed, or that none did."""
    changed = [row for row in comparison.rows if row.verdict != "same"]
    parts: list[RenderableType] = [Text(f"Against {comparison.old} of {comparison.old_date}", style="bold")]
    parts += [terminal_table(comparison_sheet(changed))] if changed else []
    beyond = sum(row.beyond_tolerance for row in comparison.rows)
    same = len(comparison.rows) - len(changed)
    summary = (
        f"{same} of {len(comparison.rows)} rows are the same; {beyond} slower beyond {comparison.tolerance:g} %."
    )
    parts.append(Text(summary, style="bold red" if beyond else "green"))
    parts += [Text(f"! {line}", style="yellow") for line in comparison.differences]
    parts += [Text(f"Only then: {label}", style="dim") for label in comparison.missing]
    return Group(*parts)
