"""A benchmark as one HTML file that needs nothing else: figures first, then tables, then what they hold for."""

import io

from fastvit_cli.bench.events import BenchResult, BenchRow
from fastvit_cli.bench.profile import Profile
from fastvit_cli.ui.bench_figures import FIGURES
from fastvit_cli.ui.bench_views import (
    NOTHING,
    baseline_text,
    common_words,
    distinctions,
    layer_tree,
    number,
    ratio_text,
    short_name,
)
from fastvit_cli.ui.markup import escape

_STYLE = """
:root { color-scheme: light; --ink: #0f172a; --grey: #64748b; --line: #e2e8f0; --blue: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 44px 0 12px; }
p { margin: 6px 0; }
.sub, .note { color: var(--grey); }
.note { font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin: 24px 0; }
.card, figure, .sheet { background: #fff; border: 1px solid var(--line); border-radius: 12px; }
.card { padding: 14px 18px; }
.card b { display: block; font-size: 26px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card b small { font-size: 15px; font-weight: 500; color: var(--grey); }
.card span { color: var(--grey); font-size: 13px; }
figure { margin: 0 0 16px; padding: 18px; }
figure svg { width: 100%; height: auto; display: block; }
.sheet { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--grey); font-weight: 600; background: #f8fafc; }
th.text, td.text { text-align: left; }
tr:last-child td { border-bottom: 0; }
tr.peer td { color: var(--grey); }
td.error { text-align: left; color: #b91c1c; white-space: normal; }
td .range { color: var(--grey); font-size: 12px; }
.bar { display: inline-block; height: 9px; border-radius: 3px; background: var(--blue); vertical-align: middle; }
.warn { background: #fffbeb; border: 1px solid #fde68a; border-radius: 10px; padding: 10px 14px; margin: 10px 0; }
.bad { color: #b91c1c; font-weight: 600; } .good { color: #15803d; font-weight: 600; }
details { margin: 10px 0; } summary { cursor: pointer; font-weight: 600; padding: 6px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; padding: 16px 18px; }
dt { color: var(--grey); } dd { margin: 0; }
"""


def report_html(result: BenchResult) -> str:
    """The whole page."""
    rows = result.results
    body = [
        f"<h1>{escape(_title(result))}</h1>",
        f'<p class="sub">{escape(common_words(rows))}; {escape(result.machine.cpu)}, '
        f"{escape(result.machine.date[:10])}</p>",
        _cards(rows),
        *(f'<p class="warn">{escape(warning)}</p>' for warning in result.warnings),
        *_figures(result),
        "<h2>Latency</h2>",
        _latency_table(rows),
        _base_note(rows),
        "<h2>Memory and cost</h2>",
        _cost_table(rows),
        '<p class="note">Memory is what loading and running it added. A multiply-add counts as two operations; the '
        "peak is PyTorch's fastest matrix product of the same type here, which other libraries can beat.</p>",
        _comparison(result),
        _profiles(result.profiles),
        "<h2>The machine</h2>",
        _machine(result),
    ]
    content = "\n".join(part for part in body if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_title(result))}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{content}\n</main></body>\n</html>\n"
    )


def _title(result: BenchResult) -> str:
    names = list(dict.fromkeys(short_name(row) for row in result.results if row.peer is None))
    if len(names) > 3:
        return f"FastViT latency: {names[0]} to {names[-1]}"
    return f"FastViT latency: {', '.join(names)}"


def _cards(rows: tuple[BenchRow, ...]) -> str:
    measured = [row for row in rows if row.median_ms is not None]
    if not measured:
        return ""
    fastest = min(measured, key=lambda row: row.median_ms or 0.0)
    busiest = max(measured, key=lambda row: row.images_per_second or 0.0)
    cards = [
        (number(fastest.median_ms), "ms", f"fastest: {fastest.label}"),
        (number(busiest.images_per_second), "images/s", f"most: {busiest.label}"),
    ]
    compared = [row for row in measured if row.ratio is not None and row.peer is None]
    if compared:
        best = min(compared, key=lambda row: row.ratio.value if row.ratio else 1.0)
        assert best.ratio is not None
        cards.append((f"{best.ratio.value:.2f}", "×", f"of the base's time: {best.label}"))
    with_peak = [row for row in measured if row.peak_share is not None]
    if with_peak:
        closest = max(with_peak, key=lambda row: row.peak_share or 0.0)
        share = f"{100 * (closest.peak_share or 0):.0f}"
        cards.append((share, "% of peak", f"closest to PyTorch's fastest matrix product: {closest.label}"))
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><b>{value} <small>{unit}</small></b><span>{escape(text)}</span></div>'
            for value, unit, text in cards
        )
        + "</div>"
    )


def _figures(result: BenchResult) -> list[str]:
    out = []
    for draw in FIGURES.values():
        figure = draw(result)
        if figure is not None:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            svg = buffer.getvalue()
            out.append(f"<figure>{svg[svg.index('<svg') :]}</figure>")
    return out


def _table(columns: tuple[str, ...], text_columns: int, body: list[str]) -> str:
    head = "".join(
        f"<th{' class=text' if index < text_columns else ''}>{escape(name)}</th>"
        for index, name in enumerate(columns)
    )
    return f'<div class="sheet"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cells(texts: list[str], values: list[str]) -> str:
    return "".join(f"<td class=text>{escape(text)}</td>" for text in texts) + "".join(f"<td>{v}</td>" for v in values)


def _latency_table(rows: tuple[BenchRow, ...]) -> str:
    differing = distinctions(rows)
    figures = ("median ms", "95 % interval", "p90", "p99", "mean", "trimmed", "images/s", "× base")
    body = []
    for row in rows:
        texts = [short_name(row), *(of(row) for of in differing.values())]
        kind = " class=peer" if row.peer else ""
        if row.error is not None:
            body.append(
                f"<tr>{_cells(texts, [])}<td class=error colspan={len(figures)}>{escape(row.error)}</td></tr>"
            )
            continue
        interval = NOTHING if row.interval_ms is None else " – ".join(number(value) for value in row.interval_ms)
        values = [
            f"<b>{number(row.median_ms)}</b>",
            f"<span class=range>{interval}</span>",
            *(number(v) for v in (row.p90_ms, row.p99_ms, row.mean_ms, row.trimmed_mean_ms, row.images_per_second)),
            escape(ratio_text(row, wide=True)),
        ]
        body.append(f"<tr{kind}>{_cells(texts, values)}</tr>")
    return _table(("model", *differing, *figures), 1 + len(differing), body)


def _base_note(rows: tuple[BenchRow, ...]) -> str:
    base = baseline_text(rows)
    return f'<p class="note">× base: time over that of {escape(base)}; 0.5 is half as long.</p>' if base else ""


def _cost_table(rows: tuple[BenchRow, ...]) -> str:
    differing = distinctions(rows)
    figures = ("params M", "G mult-adds", "size MB", "memory MiB", "load ms", "first ms", "GFLOP/s", "% of peak", "")
    body = []
    for row in rows:
        if row.error is not None:
            continue
        million = [None if v is None else v / 1e6 for v in (row.params, row.size_bytes)]
        share = row.peak_share or 0.0
        values = [
            number(million[0]),
            number(None if row.multiply_adds is None else row.multiply_adds / 1e9),
            number(million[1]),
            *(number(v) for v in (row.peak_memory_mb, row.load_ms, row.first_ms)),
            number(None if row.flops is None else row.flops / 1e9),
            NOTHING if row.peak_share is None else f"{100 * share:.0f}",
            f'<span class=bar style="width:{min(share, 1.0) * 90:.0f}px"></span>',
        ]
        body.append(f"<tr>{_cells([short_name(row), *(of(row) for of in differing.values())], values)}</tr>")
    return _table(("model", *differing, *figures), 1 + len(differing), body)


def _comparison(result: BenchResult) -> str:
    comparison = result.comparison
    if comparison is None:
        return ""
    body = []
    for row in comparison.rows:
        ratio = row.ratio
        interval = NOTHING if ratio is None or ratio.low is None else f"{ratio.low:.2f} – {ratio.high:.2f}"
        style = "bad" if row.beyond_tolerance else "good" if row.verdict == "faster" else ""
        verdict = f"{row.verdict}, beyond tolerance" if row.beyond_tolerance else row.verdict
        value = NOTHING if ratio is None else f"{ratio.value:.2f}"
        values = [number(row.old_ms), number(row.new_ms), value, interval, f'<span class="{style}">{verdict}</span>']
        body.append(f"<tr>{_cells([row.label], values)}</tr>")
    lines = [*comparison.differences, *(f"Only then: {label}" for label in comparison.missing)]
    return (
        f"<h2>Against {escape(comparison.old)} of {escape(comparison.old_date)}</h2>"
        + _table(("row", "then ms", "now ms", "now / then", "interval", "verdict"), 1, body)
        + "".join(f'<p class="note">{escape(line)}</p>' for line in lines)
    )


def _profiles(profiles: tuple[Profile, ...]) -> str:
    if not profiles:
        return ""
    return "<h2>Where the time goes</h2>" + "".join(map(_profile, profiles))


def _profile(profile: Profile) -> str:
    whole = profile.layers[0].ms if profile.layers else 1.0
    layers = []
    for layer in layer_tree(profile.layers, 40):
        depth = layer.name.count(".") + 1 if layer.name else 0
        indent = (
            f'<span style="padding-left:{depth * 16}px">{escape(layer.name.rpartition(".")[2] or "network")}</span>'
        )
        share = layer.ms / (whole or 1.0)
        layers.append(
            f"<tr><td class=text>{indent}</td><td class=text>{escape(layer.kind)}</td><td>{number(layer.ms)}</td>"
            f"<td>{100 * share:.1f} %</td>"
            f'<td class=text><span class=bar style="width:{share * 160:.0f}px"></span></td></tr>'
        )
    operations = [
        f"<tr>{_cells([o.kind, o.unit or ''], [str(o.calls), number(o.ms), f'{100 * o.share:.1f} %'])}</tr>"
        for o in profile.operations[:20]
    ]
    step = "" if profile.step_ms is None else f"; {number(profile.step_ms)} ms a step"
    tree = _table(("layer", "kind", "ms", "share", ""), 2, layers) if layers else ""
    return (
        f"<details open><summary>{escape(profile.label)}</summary>"
        f'<p class="note">{escape(profile.method)}{step}</p>{tree}<p></p>'
        + _table(
            ("operation", "unit" if any(o.unit for o in profile.operations) else "", "calls", "ms", "share"),
            2,
            operations,
        )
        + "</details>"
    )


def _machine(result: BenchResult) -> str:
    machine = result.machine
    facts = {
        "CPU": f"{machine.cpu}, {machine.usable_cores} of {machine.logical_cores} cores usable",
        "memory": NOTHING if machine.ram_gib is None else f"{machine.ram_gib} GiB",
        "devices": ", ".join(machine.devices),
        "system": f"{machine.os}, Python {machine.python}",
        "libraries": ", ".join([f"torch {machine.torch}", *(f"{k} {v}" for k, v in machine.libraries.items())]),
        "threads": str(machine.torch_threads),
        "clock": machine.frequency or "unknown",
        "fastvit": f"{machine.fastvit}{f', revision {machine.git_revision}' if machine.git_revision else ''}",
        "peak": ", ".join(f"{value / 1e9:,.0f} GFLOP/s {name}" for name, value in result.peak_flops.items()),
        "date": machine.date,
    }
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f'<dl class="sheet">{items}</dl>'
