"""Results of the commands for people to read; `--json` shows the same results."""

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.data.check import CheckedSplit, DataCheck
from fastvit_cli.exporters.reparam import ReparamResult
from fastvit_cli.ui.tables import data_table, facts, next_commands, size, verdict

_SHOWN_UNREADABLE = 20


def data_check_view(result: DataCheck) -> RenderableType:
    """One row a split; then the files that cannot be read, the first of them, and what else is to be said."""
    columns = ("split", "classes", "images", "smallest class", "largest", "unreadable")
    table = data_table(columns, [_checked_row(split) for split in result.splits], title=f"Data: {result.data}")
    bad = [unreadable for split in result.splits for unreadable in split.unreadable]
    lines = [Text(f"{item.name}: {item.reason}", style="red", overflow="fold") for item in bad[:_SHOWN_UNREADABLE]]
    if len(bad) > _SHOWN_UNREADABLE:
        lines.append(Text(f"and {len(bad) - _SHOWN_UNREADABLE:,} more; --json lists all", style="dim"))
    notes = [Text(note, style="yellow", no_wrap=True, overflow="ignore") for note in result.notes]
    return Group(table, *(lines or [Text("Every image can be read.", style="green")]), *notes)


def _checked_row(split: CheckedSplit) -> tuple[str, ...]:
    counts = (split.classes, split.images, split.smallest_class, split.largest_class, len(split.unreadable))
    return (split.where, *(f"{count:,}" for count in counts))


def reparam_view(result: ReparamResult) -> RenderableType:
    """The verdict, the two proofs, before and after."""
    proof, before, after = result.proof, result.cost_before, result.cost_after
    worst = max(proof.blocks, key=lambda block: block.relative_error)
    images = f"{proof.random_images} random" + (f" and {proof.real_images} real" if proof.real_images else "")
    summary = facts(
        [
            ("proof", Text.assemble(verdict(result.passed), f" on {images} images")),
            ("fusion in float64", f"{proof.fusion_error_float64:.1e} of the largest logit"),
            ("worst block", f"{worst.relative_error:.1e} of its largest value, after {worst.name}"),
            ("written file", f"{proof.relative_error:.1e} of the largest logit, in float32"),
        ],
        title=f"fastvit_{result.variant}, {'branches' if result.fuse == 'branches' else 'all'} fused",
    )
    sizes = ("?" if result.size_before is None else size(result.size_before), size(result.size_after))
    table = data_table(
        ("", "before", "after"),
        [
            ("parameters", f"{before.params:,}", f"{after.params:,}"),
            ("multiply-adds", f"{before.multiply_adds / 1e6:,.1f} M", f"{after.multiply_adds / 1e6:,.1f} M"),
            ("operations", f"{before.operations:,}", f"{after.operations:,}"),
            ("file", *sizes),
        ],
    )
    output = shlex.quote(result.output)
    commands = [f"fastvit bench --ckpt {output}", f"fastvit validate --ckpt {output}"]
    return Group(summary, table, facts([("output", result.output)]), next_commands(commands))
