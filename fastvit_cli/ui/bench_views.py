"""A benchmark for people: the table that fills while it runs, and the result."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from fastvit_cli.bench.events import (
    INFERENCE,
    BenchEvent,
    BenchResult,
    BenchRow,
    Comparison,
    ProfileStarted,
    RoundDone,
    SubjectMeasured,
    SubjectStarted,
)
from fastvit_cli.bench.profile import LayerTime, Profile
from fastvit_cli.names import visible
from fastvit_cli.ui.session import Session
from fastvit_cli.ui.tables import FirstThatFits, data_table

_COST_NOTE = (
    "GMAC: multiply-adds, in thousands of millions. MiB: memory that loading and running it added. "
    "% peak: of PyTorch's fastest matrix product here, which other libraries can beat."
)
_SHOWN_LAYERS = 24
_SHOWN_OPERATIONS = 12
NOTHING = "–"

_Columns = dict[str, Callable[[BenchRow], str]]


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
        parts += [_cost_table(rows), Text(_COST_NOTE, style="dim")]
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


# What tells rows apart beside their name; those in which all rows agree go into the title instead.
_DISTINCTIONS: _Columns = {
    "engine": lambda row: row.engine,
    "form": lambda row: row.fuse,
    "type": lambda row: row.dtype,
    "batch": lambda row: str(row.batch_size),
    "px": lambda row: NOTHING if row.img_size is None else str(row.img_size),
    "part": lambda row: row.part,
    "units": lambda row: row.compute_units or NOTHING,
}
_IN_TITLE = {"form": "{} fused", "batch": "batch {}", "px": "{} px"}
_UNSAID = (NOTHING, INFERENCE)


def distinctions(rows: Sequence[BenchRow]) -> _Columns:
    """Those in which the rows differ."""
    return {name: of for name, of in _DISTINCTIONS.items() if len(_values(name, rows)) > 1}


def _values(name: str, rows: Sequence[BenchRow]) -> set[str]:
    """A peer is told by its name, however it is fused and run, but not with larger or smaller images."""
    if name == "px":
        told = [row for row in rows if row.img_size is not None]
    else:
        told = [row for row in rows if row.peer is None] or list(rows)
    return {_DISTINCTIONS[name](row) for row in told}


def common_words(rows: Sequence[BenchRow]) -> str:
    """Those in which all rows agree, in one line."""
    shared = {name: values.pop() for name in _DISTINCTIONS if len(values := _values(name, rows)) == 1}
    words = [_IN_TITLE.get(name, "{}").format(value) for name, value in shared.items() if value not in _UNSAID]
    return ", ".join("unfused" if word == "unfused fused" else word for word in words)


def short_name(row: BenchRow) -> str:
    """`t8` for a variant; a file keeps its name."""
    known = row.variant is not None and row.name.endswith(f"fastvit_{row.variant}")
    return row.name.replace("fastvit_", "") if known else visible(row.name)


def results_table(rows: Sequence[BenchRow]) -> RenderableType:
    """Latency, one row a measurement, in the order that was asked for."""
    columns: _Columns = {
        "median ms": lambda row: number(row.median_ms),
        "±": _half_width,
        "p90": lambda row: number(row.p90_ms),
        "p99": lambda row: number(row.p99_ms),
        "mean": lambda row: number(row.mean_ms),
        "trimmed": lambda row: number(row.trimmed_mean_ms),
        "images/s": lambda row: number(row.images_per_second),
    }
    if any(row.ratio is not None for row in rows):
        columns["× base"] = lambda row: ratio_text(row, wide=True)
    usual = _without(columns, "mean", "trimmed")
    narrow = dict(usual)
    if "× base" in columns:
        narrow = {**_without(usual, "images/s"), "× base": lambda row: ratio_text(row, wide=False)}
    choices = (columns, usual, narrow, _without(narrow, "p90", "p99"))
    return _by_width(rows, distinctions(rows), choices, title=common_words(rows))


def _by_width(
    rows: Sequence[BenchRow], differing: _Columns, choices: Iterable[_Columns], title: str | None = None
) -> RenderableType:
    """One row a measurement, with the first of the choices of figures that there is room for."""
    tables = [
        data_table(
            ("model", *differing, *columns),
            [(short_name(row), *(of(row) for of in (*differing.values(), *columns.values()))) for row in rows],
            left=1 + len(differing),
            title=title,
        )
        for columns in choices
    ]
    return FirstThatFits(*tables)


def _without(columns: _Columns, *names: str) -> _Columns:
    return {name: of for name, of in columns.items() if name not in names}


def number(value: float | None) -> str:
    """Three figures that matter: `0.812`, `7.35`, `61.2`, `1,204`."""
    if value is None:
        return NOTHING
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _half_width(row: BenchRow) -> str:
    if row.interval_ms is None or not row.median_ms:
        return NOTHING
    low, high = row.interval_ms
    return f"{50 * (high - low) / row.median_ms:.1f}%"


def ratio_text(row: BenchRow, wide: bool) -> str:
    """`0.45 [0.44, 0.46]`; 1 of the baseline itself."""
    if row.ratio is None:
        return "1" if row.baseline == row.label and row.error is None else NOTHING
    if wide and row.ratio.low is not None and row.ratio.high is not None:
        return f"{row.ratio.value:.2f} [{row.ratio.low:.2f}, {row.ratio.high:.2f}]"
    return f"{row.ratio.value:.2f}"


def baseline_text(rows: Iterable[BenchRow]) -> str:
    """What the ratios are to."""
    bases = list(dict.fromkeys(row.baseline for row in rows if row.ratio is not None and row.baseline))
    if not bases:
        return ""
    if len(bases) == 1:
        return bases[0]
    if all(base.startswith("timm ") for base in bases):
        return "timm's network of the same variant, batch and size"
    shared = [word for word in bases[0].split(", ") if all(word in base.split(", ") for base in bases)]
    return f"the row most like it of {', '.join(shared)}"


def _footnotes(rows: Sequence[BenchRow]) -> list[str]:
    lines = []
    if any(row.interval_ms for row in rows):
        lines.append("± is half the width of the median's 95 % interval.")
    base = baseline_text(rows)
    if base:
        lines.append(f"× base is the time over that of {base}; 0.5 is half as long.")
    return lines


def _cost_table(rows: Sequence[BenchRow]) -> RenderableType:
    shown = [row for row in rows if row.error is None]
    columns: _Columns = {
        "params M": lambda row: number(None if row.params is None else row.params / 1e6),
        "GMAC": lambda row: number(None if row.multiply_adds is None else row.multiply_adds / 1e9),
        "MB": lambda row: number(None if row.size_bytes is None else row.size_bytes / 1e6),
        "MiB": lambda row: number(row.peak_memory_mb),
        "load ms": lambda row: number(row.load_ms),
        "compile ms": lambda row: number(row.compile_ms),
        "first ms": lambda row: number(row.first_ms),
        "GFLOP/s": lambda row: number(None if row.flops is None else row.flops / 1e9),
        "% peak": lambda row: NOTHING if row.peak_share is None else f"{100 * row.peak_share:.0f}",
    }
    if all(row.compile_ms is None for row in rows):
        del columns["compile ms"]
    narrow = _without(columns, "MB", "load ms", "GFLOP/s")
    choices = (columns, narrow, _without(narrow, "compile ms", "first ms"))
    return _by_width(shown, distinctions(rows), choices)


def _profile_view(profile: Profile) -> RenderableType:
    """The layers as a tree, the most expensive ones; then the kinds of operations."""
    parts: list[RenderableType] = [
        Text(f"Where the time goes: {profile.label}", style="bold"),
        Text(
            f"{profile.method}{'' if profile.step_ms is None else f'; {number(profile.step_ms)} ms a step'}",
            style="dim",
        ),
    ]
    if profile.layers:
        parts.append(_layer_table(profile))
    has_units = any(operation.unit for operation in profile.operations)
    parts.append(
        data_table(
            ("operation", *(["unit"] if has_units else []), "calls", "ms", "share"),
            [
                (
                    operation.kind,
                    *([operation.unit or NOTHING] if has_units else []),
                    str(operation.calls),
                    number(operation.ms),
                    f"{100 * operation.share:.1f} %",
                )
                for operation in profile.operations[:_SHOWN_OPERATIONS]
            ],
            left=2 if has_units else 1,
        )
    )
    return Group(*parts)


def _layer_table(profile: Profile) -> RenderableType:
    whole = profile.layers[0].ms or 1.0
    shown = layer_tree(profile.layers, _SHOWN_LAYERS)
    rows = []
    for layer in shown:
        depth = layer.name.count(".") + 1 if layer.name else 0
        share = layer.ms / whole
        name = layer.name.rpartition(".")[2] or "network"
        rows.append(("  " * depth + name, layer.kind, number(layer.ms), f"{100 * share:.1f} %", _bar(share)))
    return data_table(("layer", "kind", "ms", "share", ""), rows, left=2)


def layer_tree(layers: Sequence[LayerTime], count: int) -> list[LayerTime]:
    """The `count` most expensive layers with all above them, in the order of the network.

    A module that holds only one other adds nothing and is left out unless it is a parent of what is shown.
    """
    wanted = {layer.name for layer in sorted(layers, key=lambda layer: -layer.ms)[:count]}
    return [layer for layer in layers if layer.name in wanted or any(n.startswith(f"{layer.name}.") for n in wanted)]


def _bar(share: float, width: int = 16) -> Text:
    return Text("█" * round(share * width), style="cyan", justify="left")


def _comparison_view(comparison: Comparison) -> RenderableType:
    """The rows that changed, or that none did."""
    changed = [row for row in comparison.rows if row.verdict != "same"]
    parts: list[RenderableType] = [Text(f"Against {comparison.old} of {comparison.old_date}", style="bold")]
    if changed:
        rows = []
        for row in changed:
            interval = NOTHING
            if row.ratio is not None and row.ratio.low is not None and row.ratio.high is not None:
                interval = f"{row.ratio.low:.2f} – {row.ratio.high:.2f}"
            value = NOTHING if row.ratio is None else f"{row.ratio.value:.2f}"
            verdict = f"{row.verdict}, beyond tolerance" if row.beyond_tolerance else row.verdict
            style = "bold red" if row.beyond_tolerance else "green" if row.verdict == "faster" else ""
            figures = (number(row.old_ms), number(row.new_ms), value, interval)
            rows.append((row.label, *figures, Text(verdict, style=style)))
        parts.append(data_table(("row", "then ms", "now ms", "× then", "interval", "verdict"), rows))
    beyond = sum(row.beyond_tolerance for row in comparison.rows)
    same = len(comparison.rows) - len(changed)
    summary = (
        f"{same} of {len(comparison.rows)} rows are the same; {beyond} slower beyond {comparison.tolerance:g} %."
    )
    parts.append(Text(summary, style="bold red" if beyond else "green"))
    parts += [Text(f"! {line}", style="yellow") for line in comparison.differences]
    parts += [Text(f"Only then: {label}", style="dim") for label in comparison.missing]
    return Group(*parts)
