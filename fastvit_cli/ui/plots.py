"""Pictures. matplotlib is imported only here, and only when one is drawn."""

from collections.abc import Sequence
from pathlib import Path

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.training.events import EpochDone, best_of

_BLUE, _ORANGE, _GREY = "#2563eb", "#ea580c", "#64748b"


def plot_curves(history: Sequence[EpochDone], path: Path) -> None:
    """Loss, accuracy and learning rate by epoch, as a PNG."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(11, 3.6), layout="constrained", facecolor="white")
    loss, top1, rate = figure.subplots(1, 3)

    def draw(axes: Axes, title: str, lines: Sequence[tuple[str, Sequence[float], str]]) -> None:
        for label, values, color in lines:
            axes.plot(epochs, values, color=color, linewidth=2, marker="o", markersize=3.5, label=label)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color="#0f172a")
        axes.set_xlabel("epoch", color=_GREY)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#e2e8f0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_GREY, labelsize=9)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color("#cbd5e1")
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=_GREY)

    draw(
        loss,
        "Loss",
        [("train", [row.train_loss for row in history], _GREY), ("val", [row.val_loss for row in history], _BLUE)],
    )
    draw(
        top1,
        "Top-1 accuracy, %",
        [("train", [row.train_top1 for row in history], _GREY), ("val", [row.val_top1 for row in history], _BLUE)],
    )
    best = best_of(history)
    if best is not None:
        top1.annotate(
            f"{best.val_top1:.1f}",
            (best.epoch, best.val_top1),
            textcoords="offset points",
            xytext=(0, 7),
            ha="center",
            color=_BLUE,
            fontweight="bold",
            fontsize=10,
        )
    top1.margins(y=0.15)
    draw(rate, "Learning rate", [("lr", [row.lr for row in history], _ORANGE)])
    rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    with replaced_when_done(path) as temporary:
        figure.savefig(temporary, dpi=120)
