"""What the tables of a benchmark hold, in a terminal, in Markdown and on a page."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from fastvit_cli.bench.events import INFERENCE, BenchRow, ComparedRow
from fastvit_cli.runtimes.profile import LayerTime, Profile
from fastvit_cli.ui.tables import Row, Sheet, model_name, told_apart

COST_NOTE = (
    "GMAC: multiply-adds, in thousands of millions. MiB: memory that loading and running it added. "
    "% peak: of PyTorch's fastest matrix product here, which other libraries can beat."
)
NOTHING = "–"

Columns = dict[str, Callable[[BenchRow], str]]


# What tells rows apart beside their name; those in which all rows agree go into the title instead.
_DISTINCTIONS: Columns = {
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


def distinctions(rows: Sequence[BenchRow]) -> Columns:
    """Those in which the rows differ."""
    return {name: of for name, of in _DISTINCTIONS.items() if len(_values(name, rows)) > 1}


def _values(name: str, rows: Sequence[BenchRow]) -> set[str]:
    """A peer is told by its name, however it is fused and run, but not with larger or smaller images."""
    if name == "px":
        told = [row for row in rows if row.img_size is not None]
    else:
        told = [row for row in rows if row.peer is None] or list(rows)
    return {_DISTINCTIONS[name](row) for row in told}


def _word(name: str, value: str) -> str:
    word = _IN_TITLE.get(name, "{}").format(value)
    return "unfused" if word == "unfused fused" else word


def common_words(rows: Sequence[BenchRow]) -> str:
    """Those in which all rows agree, in one line."""
    shared = {name: values.pop() for name in _DISTINCTIONS if len(values := _values(name, rows)) == 1}
    return ", ".join(_word(name, value) for name, value in shared.items() if value not in _UNSAID)


def short_names(rows: Sequence[BenchRow]) -> dict[str, str]:
    """What each model is called, by its whole name: `t8` for a variant, else as `model_name` calls it."""
    variants = {row.name: row.name.endswith(f"fastvit_{row.variant}") for row in rows}
    return told_apart(
        {name: name.replace("fastvit_", "") if known else model_name(name) for name, known in variants.items()}
    )


def row_names(rows: Sequence[BenchRow]) -> dict[str, str]:
    """By its label, no more of a row than tells it from the others."""
    names, differing = short_names(rows), distinctions(rows)
    words = {row.label: [_word(name, of(row)) for name, of in differing.items()] for row in rows}
    return {row.label: ", ".join([names[row.name], *words[row.label]]) for row in rows}


def latency_columns(rows: Sequence[BenchRow]) -> Columns:
    """The figures of a row's time, all that there are."""
    columns: Columns = {
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
    return columns


def page_latency_columns(rows: Sequence[BenchRow]) -> Columns:
    """The same, with the interval itself in place of half its width."""
    columns = latency_columns(rows)
    columns["±"] = lambda row: NOTHING if row.interval_ms is None else " – ".join(map(number, row.interval_ms))
    return {"95 % interval" if name == "±" else name: of for name, of in columns.items()}


def cost_columns(rows: Sequence[BenchRow]) -> Columns:
    """The figures of what a row takes beside time, all that there are."""
    columns: Columns = {
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
    return columns


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


def base_note(rows: Sequence[BenchRow]) -> list[str]:
    base = baseline_text(rows)
    return [f"× base is the time over that of {base}; 0.5 is half as long."] if base else []


def measured_sheet(rows: Sequence[BenchRow], columns: Columns, colors: Mapping[str, str] | None = None) -> Sheet:
    """A row a measurement, with no more words than tell it from the others; colours are by label."""
    names, words = short_names(rows), distinctions(rows)
    return Sheet(
        ("model", *words, *columns),
        [
            Row(
                (names[row.name], *(of(row) for of in (*words.values(), *columns.values()))),
                color=(colors or {}).get(row.label, ""),
                error=row.error,
            )
            for row in rows
        ],
        text=1 + len(words),
    )


def comparison_sheet(rows: Sequence[ComparedRow]) -> Sheet:
    """Then, now, and how sure it is that they differ."""
    return Sheet(("row", "then ms", "now ms", "× then", "interval", "verdict"), [_compared(row) for row in rows])


def _compared(row: ComparedRow) -> Row:
    ratio, interval = row.ratio, NOTHING
    if ratio is not None and ratio.low is not None and ratio.high is not None:
        interval = f"{ratio.low:.2f} – {ratio.high:.2f}"
    value = NOTHING if ratio is None else f"{ratio.value:.2f}"
    verdict = f"{row.verdict}, beyond tolerance" if row.beyond_tolerance else row.verdict
    tone = "bad" if row.beyond_tolerance else "good" if row.verdict == "faster" else ""
    return Row((row.label, number(row.old_ms), number(row.new_ms), value, interval, verdict), tone=tone)


def layer_tree(layers: Sequence[LayerTime], count: int) -> list[LayerTime]:
    """The `count` most expensive layers with all above them, in the order of the network.

    A module that holds only one other adds nothing and is left out unless it is a parent of what is shown.
    """
    wanted = {layer.name for layer in sorted(layers, key=lambda layer: -layer.ms)[:count]}
    return [layer for layer in layers if layer.name in wanted or any(n.startswith(f"{layer.name}.") for n in wanted)]


def layer_sheet(profile: Profile, count: int) -> Sheet:
    """The layers as a tree, the most expensive ones."""
    whole, rows = (profile.layers[0].ms if profile.layers else 0.0) or 1.0, []
    for layer in layer_tree(profile.layers, count):
        share = layer.ms / whole
        cells = (layer.name.rpartition(".")[2] or "network", layer.kind, number(layer.ms), f"{100 * share:.1f} %")
        rows.append(Row(cells, bar=share, depth=layer.name.count(".") + 1 if layer.name else 0))
    return Sheet(("layer", "kind", "ms", "share"), rows, text=2)


def operation_sheet(profile: Profile, count: int) -> Sheet:
    """The kinds of operations, with the unit that runs them where that is known."""
    unit = ("unit",) if any(one.unit for one in profile.operations) else ()
    rows = []
    for one in profile.operations[:count]:
        units = (one.unit or NOTHING,) if unit else ()
        rows.append(Row((one.kind, *units, str(one.calls), number(one.ms), f"{100 * one.share:.1f} %")))
    return Sheet(("operation", *unit, "calls", "ms", "share"), rows, text=1 + len(unit))


def profile_note(profile: Profile) -> str:
    """How it was found."""
    return f"{profile.method}{'' if profile.step_ms is None else f'; {number(profile.step_ms)} ms a step'}"
