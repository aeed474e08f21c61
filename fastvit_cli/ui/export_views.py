"""What `fastvit export` shows: the verdict on a file, and the table of formats."""

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.exporters.export import ExportResult
from fastvit_cli.exporters.format_list import FormatList, FormatRow
from fastvit_cli.formats import FORMATS
from fastvit_cli.ui.tables import data_table, facts, size, verdict


def export_view(result: ExportResult) -> RenderableType:
    """The verdict, the figures behind it, what is wrong if anything; then how to load the file."""
    check = result.check
    rows: list[tuple[str, str | Text]] = [("check", verdict(check.passed)), ("how", check.method)]
    rows += [("problem", Text(problem, style="red")) for problem in check.problems]
    if check.max_abs_error is not None and check.tolerance is not None:
        what = "embedding" if result.headless else "logit"
        largest = f"{check.max_abs_error:.2g}  (allowed {check.tolerance:.2g}; mean {check.mean_abs_error:.2g})"
        rows.append((f"largest {what} difference", largest))
    if check.top1_agreement is not None:
        rows.append(("same top-1", f"{100 * check.top1_agreement:.1f} % of {check.num_images} images"))
    if (top1 := check.accuracy) is not None:
        points = f"{top1.after - top1.before:+.1f} points on {top1.num_images} labelled images"
        rows.append(("top-1", f"{top1.before:.1f} % → {top1.after:.1f} %  ({points})"))
    if result.drift is not None:
        rows.append(("drift", result.drift))
    elif not check.passed and "debug_drift" in FORMATS[result.format].options:
        rows.append(("where", "add --debug-drift --force for the first layer that differs"))
    rows += [("note", note) for note in result.notes]
    rows += [
        ("model", f"fastvit_{result.variant}, {_output_words(result)}, {result.img_size} px, {result.precision}"),
        ("size", size(result.size_bytes)),
        ("output", result.output),
    ]
    if result.zip is not None:
        rows.append(("zip", result.zip))
    summary = facts(rows, title=f"Exported to {result.format}")
    if result.snippet is None:
        return summary
    lines = (Text(f"  {line}", style="cyan", no_wrap=True, overflow="ignore") for line in result.snippet.splitlines())
    return Group(summary, Text(f"How to load it, also in {result.snippet_file}", style="bold"), *lines)


def _output_words(result: ExportResult) -> str:
    if result.headless:
        return "pooled embedding"
    return f"{result.num_classes} classes" + (" by name" if result.class_names_inside else "")


def formats_view(formats: FormatList) -> RenderableType:
    """One row a format; then the options that not every format has."""
    columns = ("--format", "for", "writes", "--precision", "platforms", "here")
    table = data_table(columns, [_format_row(row) for row in formats.formats], left=6, title="Export formats")
    own = [(row.name, "  ".join(row.options)) for row in formats.formats if row.options]
    return Group(table, facts(own, title="Options of their own"))


def _format_row(row: FormatRow) -> tuple[str, ...]:
    here = "ready" if row.available else row.install or "not on this system"
    return (row.name, row.title, row.suffix, " ".join(row.precisions), row.platforms, here)
