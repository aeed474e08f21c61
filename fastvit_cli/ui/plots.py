"""The curves of a training run."""

from collections.abc import Sequence
from pathlib import Path

from fastvit_cli.training.events import EpochDone, best_of
from fastvit_cli.ui.figures import Drawing, write_png
from fastvit_cli.ui.palette import LIGHT


def plot_curves(history: Sequence[EpochDone], path: Path) -> None:
    """Loss, accuracy and learning rate by epoch, as a PNG."""
    write_png(lambda width: _curves(history, width), path, dpi=120)


def _curves(history: Sequence[EpochDone], width: float) -> Drawing:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    grey, blue, orange = LIGHT["quiet"], LIGHT["blue"], LIGHT["orange"]
    panels = {
        "Loss": {
            "train": ([row.train_loss for row in history], grey),
            "val": ([row.val_loss for row in history], blue),
        },
        "Top-1 accuracy, %": {
            "train": ([row.train_top1 for row in history], grey),
            "val": ([row.val_top1 for row in history], blue),
        },
        "Learning rate": {"lr": ([row.lr for row in history], orange)},
    }
    figure = Figure(figsize=(width, 3.4))
    grid = figure.subplots(1, 3)
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        for label, (values, color) in lines.items():
            axes.plot([row.epoch for row in history], values, color=color, marker="o", markersize=3.5, label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(lines) > 1:
            axes.legend()
    best = best_of(history)
    if best is not None:
        at, above = (best.epoch, best.val_top1), {"textcoords": "offset points", "xytext": (0, 7), "ha": "center"}
        grid[1].annotate(f"{best.val_top1:.1f}", at, color=blue, fontweight="bold", **above)
    grid[1].margins(y=0.15)
    grid[2].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return Drawing(figure, "", "", "")
