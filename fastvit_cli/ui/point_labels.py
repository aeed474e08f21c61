"""A name at every point of a figure, where it covers neither a point nor another name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In points, 1/72 inch.
_MARKER = 5.0  # from the middle of a marker to its edge, with some air
_SHARED = 8.0  # points of one name that are so near to each other are named once
_GAPS = (0.0, 4.0, 10.0, 18.0, 28.0, 40.0, 56.0, 80.0)  # between a marker and its name
_NEAR = 6.0  # names further away have a line to their point
_DIRECTIONS = 16
_STYLE: dict[str, Any] = {"ha": "center", "va": "center", "fontweight": "bold", "in_layout": False}


@dataclass(frozen=True)
class Point:
    """In the units of the axes."""

    x: float
    y: float
    name: str
    color: str


def label_points(axes: "Axes", points: Sequence[Point]) -> None:
    """Write every name inside the axes, whose limits and layout must be final."""
    import numpy as np

    scale = 72 / axes.figure.dpi
    frame = np.multiply(axes.bbox.extents, scale)
    places = axes.transData.transform([(point.x, point.y) for point in points]) * scale
    crossed = [_boxes(_along(axes.transData.transform(line.get_xydata()) * scale), 2.0) for line in axes.lines]
    taken = _boxes(places, 2 * _MARKER)
    named: list[tuple[str, Any]] = []
    for point, place in zip(points, places, strict=True):
        if any(name == point.name and math.dist(place, other) < _SHARED for name, other in named):
            continue
        named.append((point.name, place))
        at = (point.x, point.y)
        label = axes.annotate(point.name, at, (0, 0), textcoords="offset points", color=point.color, **_STYLE)
        size = np.array(label.get_window_extent().size) * scale
        gaps, middles = _around(place, size)
        boxes = _boxes(middles, size)
        outside = (boxes[:, :2] < frame[:2]).any(1) | (boxes[:, 2:] > frame[2:]).any(1)
        cost = 1000 * outside + 100 * _overlaps(boxes, taken) + _overlaps(boxes, np.vstack(crossed)) + gaps / 100
        best = cost.argmin()
        taken = np.vstack((taken, boxes[best]))
        label.set_position(middles[best] - place)
        if gaps[best] > _NEAR:
            leader = {"arrowstyle": "-", "color": point.color, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
            edge = place.clip(boxes[best, :2], boxes[best, 2:]) - place
            axes.annotate("", at, edge, textcoords="offset points", arrowprops=leader, in_layout=False)


def _around(place: Any, size: Any) -> tuple[Any, Any]:
    """Distances from a marker, (N,), and middles of a name there, (N, 2): the nearest first, of them those above."""
    import numpy as np

    angles = np.pi * (0.5 + 2 * np.arange(_DIRECTIONS) / _DIRECTIONS)
    gaps = np.repeat(_GAPS, _DIRECTIONS)
    directions = np.tile(np.stack((np.cos(angles), np.sin(angles)), 1), (len(_GAPS), 1))
    return gaps, place + (size / 2 + _MARKER + gaps[:, None]) * directions


def _boxes(middles: Any, size: Any) -> Any:
    """Left, bottom, right and top, (N, 4), around middles, (N, 2)."""
    import numpy as np

    return np.hstack((middles - np.divide(size, 2), middles + np.divide(size, 2)))


def _overlaps(boxes: Any, others: Any) -> Any:
    """How many of the others each box covers a part of, (N,)."""
    return ((boxes[:, None, :2] < others[:, 2:]) & (others[:, :2] < boxes[:, None, 2:])).all(2).sum(1)


def _along(line: Any) -> Any:
    """Many places, (N, 2), on a line through a few, about 4 points from each other."""
    import numpy as np

    lengths = np.hypot(*np.diff(line, axis=0).T).cumsum()
    way = np.concatenate(([0.0], lengths))
    steps = np.arange(0.0, way[-1] + 4.0, 4.0)
    return np.stack([np.interp(steps, way, line[:, axis]) for axis in (0, 1)], 1)
