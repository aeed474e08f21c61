"""What `--dry-run` shows: the run that would be, and every option with where its value comes from."""

from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.training.dry_run import DryRun
from fastvit_cli.ui.tables import data_table, facts, size

_WHOLE_JPEGS = "decoded whole; with --transforms fast and libjpeg-turbo 3 installed, only what a crop shows"


def dry_run_view(result: DryRun) -> RenderableType:
    """The network, the steps and the memory; the rates; the options by their source, what was typed last."""
    memory, frozen = result.memory, result.cost.params - result.trained_parameters
    network = f"fastvit_{result.variant}, {result.cost.params / 1e6:.2f} M parameters"
    network += f", {frozen / 1e6:.2f} M of them frozen" if frozen else ""
    needed = f"about {size(memory.weights + memory.activations)}: {size(memory.weights)} for weights, gradients and "
    summary = facts(
        [
            ("model", f"{network}, {result.cost.multiply_adds / 1e9:.2f} G multiply-adds an image"),
            ("images", f"{result.train_images:,} to train, {result.val_images:,} to validate"),
            ("classes", str(result.classes)),
            ("total batch", _total_batch(result)),
            ("steps", f"{result.updates:,} updates, {result.steps_per_epoch:,} an epoch"),
            ("warm-up", _warm_up(result.warmup_updates)),
            (
                "memory",
                f"{needed}optimizer, {size(memory.activations)} for a batch; what PyTorch itself takes comes on top",
            ),
            ("first batch", f"{' x '.join(map(str, result.batch_shape))}, read in {result.batch_seconds:.1f} s"),
            ("JPEGs", "only what a crop shows is decoded" if result.partial_decoding else _WHOLE_JPEGS),
            ("device", result.device),
            *_teacher(result),
            *(("note", note) for note in result.notes),
        ],
        title="A run with these options; nothing was trained or written",
    )
    rates = data_table(
        ("epoch", "update", "learning rate"),
        [
            (f"{epoch:.1f}", f"{round(epoch * result.steps_per_epoch) + 1:,}", f"{rate:.3g}")
            for epoch, rate in result.rates
        ],
        left=0,
    )
    sources = sorted(dict.fromkeys(result.sources.values()), key=_place)
    return Group(summary, rates, *(_options(source, result) for source in sources))


def _warm_up(updates: int) -> str:
    return "the first update" if updates == 1 else f"the first {updates:,} updates"


def _total_batch(result: DryRun) -> str:
    batch, processes = result.batch_shape[0], result.options["world_size"]
    times = result.images_an_update // (batch * processes)
    parts = [f"{processes} processes"] * (processes > 1) + [str(times)] * (times > 1) + [str(batch)]
    return f"{result.images_an_update} images an update" + (f", {' x '.join(parts)}" if len(parts) > 1 else "")


def _teacher(result: DryRun) -> list[tuple[str, Text]]:
    if result.options["teacher"] is None:
        return []
    if result.teacher_problem is not None:
        return [("teacher", Text(result.teacher_problem, style="yellow"))]
    return [("teacher", Text(f"{result.options['teacher']}, {result.options['distillation_type']} labels"))]


def _place(source: str) -> int:
    """What most runs have in common comes first; what was typed last, nearest to the prompt."""
    order = ("default", "recipe", "the run", "file", "option")
    return next((place for place, start in enumerate(order) if source.startswith(start)), 2)


def _options(source: str, result: DryRun) -> RenderableType:
    options = [
        (name, "–" if value is None else str(value))
        for name, value in result.options.items()
        if result.sources[name] == source
    ]
    half = -(-len(options) // 2)
    rows = [(*left, *right) for left, right in zip_longest(options[:half], options[half:], fillvalue=("", ""))]
    title = {"default": "Defaults", "option": "Typed"}.get(source, source[:1].upper() + source[1:])
    return data_table(("option", "value", "option", "value"), rows, left=4, title=title)
