"""The figures of a validation report."""

from typing import TYPE_CHECKING

from fastvit_cli.evaluation.results import ValidateResult
from fastvit_cli.ui.figures import Drawing, plain
from fastvit_cli.ui.palette import LIGHT

if TYPE_CHECKING:
    from torch import Tensor

_NUMBERED_CLASSES = 25  # up to here every count is written
_NAMED_CLASSES = 60  # more names than that cannot be read
_MOST_CELLS = 250  # in a line; smaller ones would be lost between the pixels of a screen
_NAME = 18  # characters
_COLUMN = 5.4  # inches of half a page


def confusion_figure(confusion: "Tensor", names: tuple[str, ...], width: float) -> Drawing:
    """Classes by predictions; the colour is the share of the class, blue where it is recognised."""
    import numpy as np
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    counts, classes = confusion.numpy(), len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    each = -(-classes // _MOST_CELLS)
    blocks = np.arange(0, classes, each)
    strength, right = np.where(counts > 0, 0.08 + 0.62 * shares, 0.0), np.eye(classes, dtype=bool)
    for axis in (0, 1):
        strength, right = (np.maximum.reduceat(cells, blocks, axis) for cells in (strength, right))
    colors = np.where(right[..., None], to_rgb(LIGHT["blue"]), to_rgb(LIGHT["orange"]))
    pixels = np.concatenate((colors, strength[..., None]), 2)
    labels = [plain(name, _NAME) for name in names] if classes <= _NAMED_CLASSES else []
    numbered = classes <= _NUMBERED_CLASSES
    beside = 0.2 + 0.09 * max(map(len, labels), default=1)
    smallest = max(0.34, 0.1 + 0.09 * len(str(counts.max()))) if numbered else 0.16 if labels else 0.0
    side = max(classes * smallest, min(width, _COLUMN) - beside) if labels else min(width, _COLUMN)
    side = min(side, classes * 0.55) if labels else side
    figure = Figure(figsize=(side + beside, side + beside))
    axes = figure.subplots()
    axes.imshow(pixels, interpolation="nearest")
    axes.grid(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="prediction", ylabel="class")
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    if labels:
        edges = np.arange(-0.5, classes)
        axes.vlines(edges, -0.5, classes - 0.5, colors=LIGHT["card"], linewidth=1.5)
        axes.hlines(edges, -0.5, classes - 0.5, colors=LIGHT["card"], linewidth=1.5)
    if numbered:
        for row, column in zip(*counts.nonzero(), strict=True):
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center_baseline", in_layout=False)
    note = "Blue: recognised; orange: mistaken. The stronger the colour, the larger the share of the class."
    note += f" A cell is {each} by {each} classes, as strong as the strongest of them." if each > 1 else ""
    hits, images = int(counts.trace()), int(counts.sum())
    alt = f"Confusion matrix of {classes} classes: {hits:,} of {images:,} images are on the diagonal."
    return Drawing(figure, "Confusion matrix", note, alt)


def reliability_figure(result: ValidateResult, width: float) -> Drawing:
    """Accuracy by confidence, light blue where it is more right than sure, orange where less; images below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(width, _COLUMN), 4.6))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    kinds = {"blue": "accuracy", "blue-light": "more right than sure", "orange": "more sure than right"}
    for row in result.reliability:
        middle, wide = 50 * (row.low + row.high), 92 * (row.high - row.low)
        bottom.bar(middle, row.images, wide, color=LIGHT["grey"])
        if row.accuracy is not None and row.confidence is not None:
            low, high = sorted((100 * row.accuracy, 100 * row.confidence))
            top.bar(middle, low, wide, color=LIGHT["blue"])
            gap = "blue-light" if row.accuracy > row.confidence else "orange"
            top.bar(middle, high - low, wide, bottom=low, color=LIGHT[gap])
    top.plot((0, 100), (0, 100), color=LIGHT["quiet"], linestyle="--", linewidth=1)
    top.set(ylabel="accuracy, %", ylim=(0, 100))
    bottom.set(ylabel="images", xlabel="confidence, %", xlim=(0, 100))
    bottom.locator_params("y", nbins=2)
    signs = [top.bar(0, 0, color=LIGHT[color], label=kind) for color, kind in kinds.items()]
    figure.legend(handles=signs, loc="outside lower left", ncols=1 if width < _COLUMN else 3, handlelength=0.9)
    title = "Is it as sure as it should be?"
    note = "Accuracy of the images by the probability, in percent, that the model gave its prediction."
    error = f"Expected calibration error: {result.calibration_error:.1f} %."
    return Drawing(figure, title, f"{note} {error}", f"Reliability diagram. {error}")
