"""The pictures of a report, as PNG files for documents and slides."""

from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.evaluation.validate import ValidateResult
from fastvit_cli.names import visible

if TYPE_CHECKING:
    from torch import Tensor

_BLUE, _LIGHT_BLUE, _ORANGE, _GREY, _INK = "#2563eb", "#93b6fb", "#ea580c", "#64748b", "#0f172a"
_NAMED_CLASSES = 60  # more names than that cannot be read


def plot_confusion(confusion: "Tensor", names: tuple[str, ...], path: Path) -> None:
    """Labels by predictions, each row as shares of its class, as a PNG."""
    from matplotlib.figure import Figure

    shares = confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    named = len(names) <= _NAMED_CLASSES
    side = min(14.0, max(5.0, 2.2 + 0.32 * len(names))) if named else 9.0
    figure = Figure(figsize=(side, side), layout="constrained", facecolor="white")
    axes = figure.subplots()
    drawn = axes.imshow(shares.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_xlabel("prediction", color=_GREY)
    axes.set_ylabel("class", color=_GREY)
    axes.tick_params(colors=_INK, labelsize=9, length=0)
    if named:
        axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.6, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=_GREY, labelsize=8, length=0)
    bar.set_label("share of the class", color=_GREY)
    with replaced_when_done(path) as temporary:
        figure.savefig(temporary, dpi=110)


def plot_reliability(result: ValidateResult, path: Path) -> None:
    """Accuracy by confidence, light where it is more right than sure, orange where less; images below. A PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.6), layout="constrained", facecolor="white")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for row in result.reliability:
        middle, width = (row.low + row.high) / 2, (row.high - row.low) * 0.92
        bottom.bar(middle, row.images, width, color=_GREY, alpha=0.6)
        if row.accuracy is not None and row.confidence is not None:
            low, high = sorted((row.accuracy, row.confidence))
            top.bar(middle, low, width, color=_BLUE)
            gap = _LIGHT_BLUE if row.accuracy > row.confidence else _ORANGE
            top.bar(middle, high - low, width, bottom=low, color=gap)
    top.plot((0, 1), (0, 1), color=_GREY, linestyle="--", linewidth=1)
    top.set_title(f"Calibration error {result.calibration_error:.1f} %", loc="left", fontweight="bold", color=_INK)
    top.set_ylabel("accuracy", color=_GREY)
    top.set_ylim(0, 1)
    bottom.set_ylabel("images", color=_GREY)
    bottom.set_xlabel("confidence", color=_GREY)
    bottom.set_xlim(0, 1)
    for axes in (top, bottom):
        axes.tick_params(colors=_GREY, labelsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    with replaced_when_done(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _short(name: str) -> str:
    name = visible(name)
    return name if len(name) <= 18 else name[:17] + "…"
