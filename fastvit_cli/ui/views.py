"""Results of the commands for people to read; `--json` shows the same results."""

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.exporters.reparam import ReparamResult
from fastvit_cli.ui.tables import data_table, facts, next_commands, size, verdict


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
