"""Results of the commands for people to read; `--json` shows the same results."""

import shlex
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.data.check import CheckedSplit, DataCheck
from fastvit_cli.evaluation.validate import ValidateResult
from fastvit_cli.exporters.export import ExportResult
from fastvit_cli.exporters.reparam import ReparamResult
from fastvit_cli.training.dry_run import DryRun
from fastvit_cli.ui.tables import data_table, facts, next_commands, size, verdict


def validation_view(result: ValidateResult) -> RenderableType:
    """Scores first, then what they are of."""
    top1 = f"{result.top1:.2f} %"
    if result.published_top1 is not None:
        top1 += f"  (published for ImageNet-1k: {result.published_top1:.1f} %)"
    form = "fused" if result.fused else "unfused"
    wait = f"; {100 * result.data_wait:.0f} % of the time waiting for them" if result.data_wait > 0.2 else ""
    rows: list[tuple[str, str | Text]] = [
        ("top-1", Text(top1, style="bold")),
        ("top-5", f"{result.top5:.2f} %"),
        ("loss", f"{result.loss:.4f}"),
        ("images", f"{result.num_images:,} of {result.data} ({result.split}), {result.img_size} px"),
        ("model", f"fastvit_{result.variant}, {form}, {result.engine} on {result.device}"),
        ("speed", f"{result.images_per_second:.0f} images/s, decoding included{wait}"),
    ]
    if result.unreadable:
        rows.insert(4, ("left out", Text(f"{len(result.unreadable):,} unreadable images", style="yellow")))
    return facts(rows)


def dry_run_view(result: DryRun) -> RenderableType:
    """What the run would be; then every option in columns."""
    memory, frozen = result.memory, result.cost.params - result.trained_parameters
    rates = "  ".join(f"{rate:.2g} @{epoch:.0f}" for epoch, rate in result.rates)
    network = f"fastvit_{result.variant}, {result.cost.params / 1e6:.2f} M parameters"
    network += f", {frozen / 1e6:.2f} M of them frozen" if frozen else ""
    steps = f"{result.updates:,} updates of {result.images_an_update} images, {result.steps_per_epoch:,} an epoch"
    images = f"{result.train_images:,} to train, {result.val_images:,} to validate, {result.classes} classes"
    needed = f"about {size(memory.weights + memory.activations)}: {size(memory.weights)} for weights, gradients and "
    summary = facts(
        [
            ("model", f"{network}, {result.cost.multiply_adds / 1e9:.2f} G multiply-adds an image"),
            ("images", images),
            ("steps", f"{steps}; the first {result.warmup_updates:,} warm up"),
            ("learning rate", f"{rates}  (@epoch)"),
            ("memory", f"{needed}optimizer, {size(memory.activations)} for a batch"),
            ("first batch", f"{' x '.join(map(str, result.batch_shape))}, read in {result.batch_seconds:.1f} s"),
            ("device", result.device),
        ],
        title="A run with these options; nothing was trained or written",
    )
    options = [(name, "–" if value is None else str(value)) for name, value in result.options.items()]
    half = -(-len(options) // 2)
    rows = [(*left, *right) for left, right in zip_longest(options[:half], options[half:], fillvalue=("", ""))]
    return Group(summary, data_table(("option", "value", "option", "value"), rows, left=4))


_SHOWN_UNREADABLE = 20


def data_check_view(result: DataCheck) -> RenderableType:
    """One row a split; then the files that cannot be read, the first of them."""
    columns = ("split", "classes", "images", "smallest class", "largest", "unreadable")
    table = data_table(columns, [_checked_row(split) for split in result.splits], title=f"Data: {result.data}")
    bad = [unreadable for split in result.splits for unreadable in split.unreadable]
    lines = [Text(f"{item.name}: {item.reason}", style="red", overflow="fold") for item in bad[:_SHOWN_UNREADABLE]]
    if len(bad) > _SHOWN_UNREADABLE:
        lines.append(Text(f"and {len(bad) - _SHOWN_UNREADABLE:,} more; --json lists all", style="dim"))
    return Group(table, *(lines or [Text("Every image can be read.", style="green")]))


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


def export_view(result: ExportResult) -> RenderableType:
    """The verdict, the figures behind it, what is wrong if anything."""
    check = result.check
    rows: list[tuple[str, str | Text]] = [("check", verdict(check.passed)), ("how", check.method)]
    rows += [("problem", Text(problem, style="red")) for problem in check.problems]
    if check.max_abs_error is not None and check.tolerance is not None:
        what = "embedding" if result.headless else "logit"
        rows.append((f"largest {what} difference", f"{check.max_abs_error:.2g}  (allowed {check.tolerance:.2g})"))
    if check.top1_agreement is not None:
        rows.append(("same top-1", f"{100 * check.top1_agreement:.1f} % of {check.num_images} images"))
    rows += [
        ("model", f"fastvit_{result.variant}, {_output_words(result)}, {result.img_size} px, {result.precision}"),
        ("size", size(result.size_bytes)),
        ("output", result.output),
    ]
    return facts(rows, title=f"Exported to {result.format}")


def _output_words(result: ExportResult) -> str:
    if result.headless:
        return "pooled embedding"
    return f"{result.num_classes} classes" + (" by name" if result.class_names_inside else "")
