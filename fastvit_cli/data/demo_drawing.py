"""The images of the demo data set: ten shapes on coloured, textured and cluttered grounds, drawn from their names."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

IMAGE_SIZE = 64
"""Side of the stored images, in pixels."""

IMAGES_PER_CLASS = {"train": 320, "val": 60}
"""How many images of each class a split holds."""

_SUPERSAMPLE = 4  # outlines are drawn this much larger and averaged down, which smooths their edges
_TAU = 2 * math.pi
_TILT = math.radians(30)  # more would still be learnt, but not within minutes

Point = tuple[float, float]
Outline = list[Point]


# ---- the shapes: outlines around the origin, within about one unit of it --------------------------------


def _arc(radius: float, start: float, stop: float, centre: Point = (0.0, 0.0), steps: int = 48) -> Outline:
    """Points on a circle from angle `start` to angle `stop` (radians), both ends included."""
    angles = [start + (stop - start) * i / steps for i in range(steps + 1)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _spokes(*radii: float, count: int, start: float = -_TAU / 4) -> Outline:
    """A closed zigzag: `count` turns through `radii`, evenly spaced from angle `start` (default: upwards)."""
    total = count * len(radii)
    corners = [(radii[i % len(radii)], start + _TAU * i / total) for i in range(total)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in corners]


def _cross(arm: float = 0.3) -> Outline:
    """A plus sign whose arms are `2 * arm` wide."""
    quarter = [(1.0, -arm), (1.0, arm), (arm, arm)]
    corners = quarter[:]
    for _ in range(3):
        quarter = [(-y, x) for x, y in quarter]
        corners += quarter
    return corners


def _crescent(bite: float = 0.85, offset: float = 0.5) -> Outline:
    """A unit disc less a disc of radius `bite` whose centre lies `offset` to the right."""
    x = (1 - bite**2 + offset**2) / (2 * offset)  # where the two circles meet
    y = math.sqrt(1 - x**2)
    outer, inner = math.atan2(y, x), math.atan2(y, x - offset)
    rim = _arc(1.0, outer, _TAU - outer) + _arc(bite, _TAU - inner, inner, (offset, 0.0))
    return [(px + 0.3, py) for px, py in rim]  # its weight is on the left: bring it to the middle


def _heart() -> Outline:
    """The usual parametric heart."""
    outline = []
    for i in range(64):
        t = _TAU * i / 64
        wave = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        outline.append((math.sin(t) ** 3, -wave / 16 - 0.1))
    return outline


_ARROW: Outline = [
    (1.0, 0.0),
    (0.1, -0.8),
    (0.1, -0.28),
    (-1.0, -0.28),
    (-1.0, 0.28),
    (0.1, 0.28),
    (0.1, 0.8),
]
_BOLT: Outline = [(0.3, -1.05), (-0.55, 0.15), (-0.05, 0.15), (-0.3, 1.05), (0.55, -0.2), (0.05, -0.2)]

# A class is its outline and, for a shape with a hole, the outline of that hole.
_SHAPES: dict[str, tuple[Outline, ...]] = {
    "arrow": (_ARROW,),
    "bolt": (_BOLT,),
    "circle": (_arc(0.85, 0.0, _TAU),),
    "crescent": (_crescent(),),
    "cross": (_cross(),),
    "heart": (_heart(),),
    "ring": (_arc(0.95, 0.0, _TAU), _arc(0.52, 0.0, _TAU)),
    "square": (_spokes(1.05, count=4, start=_TAU / 8),),
    "star": (_spokes(1.1, 0.45, count=5),),
    "triangle": (_spokes(1.1, count=3),),
}

DEMO_CLASSES: tuple[str, ...] = tuple(sorted(_SHAPES))
"""The class names, which are the folder names, in the order of their labels."""


# ---- drawing one image ------------------------------------------------------------------------------------


def _colour(lightness: float, chroma: float, hue: float) -> Array:
    """An OKLCH colour (hue in radians) as sRGB values between 0 and 1.

    Equal lightness looks equally light in this space whatever the hue, so a chosen contrast holds.
    """
    import numpy as np

    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    l3 = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m3 = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s3 = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.array(
        [
            4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3,
            -1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3,
            -0.0041960863 * l3 - 0.7034186147 * m3 + 1.7076147010 * s3,
        ],
        dtype=np.float32,
    )
    linear = linear.clip(0.0, 1.0)
    srgb = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb.astype(np.float32)


def _ramp(rng: np.random.Generator) -> Array:
    """Values rising from 0 to 1 across the image in a random direction."""
    import numpy as np

    angle = rng.uniform(0, _TAU)
    cos, sin = math.cos(angle), math.sin(angle)
    axis = np.arange(IMAGE_SIZE, dtype=np.float32) * (2 / (IMAGE_SIZE - 1)) - 1
    # Scaled so that the corners farthest along the direction get exactly 0 and 1.
    scale = 0.5 / (abs(cos) + abs(sin))
    return np.asarray(axis[None, :] * (cos * scale) + (axis[:, None] * (sin * scale) + 0.5), dtype=np.float32)


def _mix(under: Array, over: Array, amount: Array) -> Array:
    """`over` laid on `under`, as opaque at each pixel as `amount` (0 to 1) says."""
    import numpy as np

    return np.asarray(under + (over - under) * amount[..., None], dtype=np.float32)


def _gradient(rng: np.random.Generator, lightness: float, chroma: float, hue: float, swing: float) -> Array:
    """A fill that runs from one colour to a lighter one, at most `swing` radians of hue away."""
    start = _colour(lightness - 0.05, chroma, hue)
    stop = _colour(lightness + 0.05, chroma, hue + rng.uniform(-swing, swing))
    return _mix(start, stop, _ramp(rng))


def _texture(rng: np.random.Generator) -> Array:
    """A pattern between -1 and 1: soft waves, stripes, a lattice of dots, or clouds."""
    import numpy as np
    from PIL import Image

    kind = rng.integers(4)
    if kind == 0:
        clouds = Image.fromarray(rng.uniform(-1.2, 1.2, (5, 5)).astype(np.float32))
        return np.asarray(clouds.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), dtype=np.float32)
    waves = rng.uniform(3, 7) * math.pi
    across, along = _ramp(rng) * 2 - 1, _ramp(rng) * 2 - 1
    if kind == 1:
        pattern = np.sin(waves * across + 3 * along**2)
    elif kind == 2:
        pattern = np.tanh(4 * np.sin(waves * across))
    else:
        pattern = np.tanh(4 * (np.sin(waves * across) * np.sin(waves * along) - 0.4))
    return np.asarray(pattern, dtype=np.float32)


def _coverage(paint: Callable[[Any], None], blur: float = 0.0, shift: Point = (0.0, 0.0)) -> Array:
    """How much of each pixel `paint` fills (0 to 1); it is handed an enlarged canvas to draw on.

    The result may be blurred and shifted, both in pixels of the image: that makes a shadow.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFilter

    side = IMAGE_SIZE * _SUPERSAMPLE
    canvas = Image.new("L", (side, side))
    paint(ImageDraw.Draw(canvas))
    image = canvas.reduce(_SUPERSAMPLE)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
        matrix = (1, 0, -shift[0], 0, 1, -shift[1])
        image = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255)


def _paint_clutter(rng: np.random.Generator, draw: Any) -> None:
    """Strew dots and strokes, all far smaller than any shape so that they cannot be taken for one."""
    side = IMAGE_SIZE * _SUPERSAMPLE
    for _ in range(rng.integers(2, 9)):
        x, y = rng.uniform(0, side, 2)
        if rng.random() < 0.6:
            r = rng.uniform(0.012, 0.05) * side
            draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(90, 256)))
        else:
            angle, length = rng.uniform(0, _TAU), rng.uniform(0.1, 0.4) * side
            end = (x + length * math.cos(angle), y + length * math.sin(angle))
            draw.line((x, y, *end), fill=int(rng.integers(90, 256)), width=int(rng.integers(3, 8)))


def _placed(outlines: tuple[Outline, ...], rng: np.random.Generator) -> tuple[Outline, ...]:
    """Stretch, mirror, turn, scale and shift a shape to a random place on the enlarged canvas."""
    side = IMAGE_SIZE * _SUPERSAMPLE
    radius = rng.uniform(0.28, 0.42) * side
    turn, stretch = rng.uniform(-_TILT, _TILT), rng.uniform(0.88, 1.12)
    flip = 1 if rng.random() < 0.5 else -1
    # A large shape must sit near the middle to stay inside; a small one has room to wander.
    room = max(side / 2 - 0.95 * radius, 0.0)
    cx, cy = side / 2 + rng.uniform(-room, room), side / 2 + rng.uniform(-room, room)
    cos, sin = radius * math.cos(turn), radius * math.sin(turn)

    def place(point: Point) -> Point:
        x, y = point[0] * stretch * flip, point[1] / stretch
        return (cx + x * cos - y * sin, cy + x * sin + y * cos)

    return tuple([place(point) for point in outline] for outline in outlines)


def draw_image(split: str, class_name: str, index: int) -> PIL.Image.Image:
    """Draw one image of the set, `IMAGE_SIZE` pixels square, RGB.

    The picture depends on nothing but the three arguments. `index` may go beyond the stored images.
    Raises ValueError for an unknown split or class, or a negative index.
    """
    import numpy as np
    from PIL import Image

    if split not in IMAGES_PER_CLASS or class_name not in _SHAPES or index < 0:
        raise ValueError(f"no demo image {split}/{class_name}/{index}")
    # Named rather than numbered seeds: adding a class would not redraw the others.
    rng = np.random.default_rng([zlib.crc32(split.encode()), zlib.crc32(class_name.encode()), index])

    # Dark on light or light on dark, in hues well apart; which of the two says nothing about the class.
    if rng.random() < 0.5:
        ground, light = rng.uniform(0.28, 0.46), rng.uniform(0.76, 0.92)
    else:
        ground, light = rng.uniform(0.84, 0.95), rng.uniform(0.42, 0.64)
    hue = rng.uniform(0, _TAU)
    shape_hue = hue + rng.uniform(1.0, _TAU - 1.0)

    picture = _gradient(rng, ground, rng.uniform(0.03, 0.1), hue, swing=1.0)
    picture = picture + (rng.uniform(0.01, 0.06) * _texture(rng))[..., None]
    clutter_light = 0.35 * light + 0.65 * ground if rng.random() < 0.7 else ground
    clutter = _colour(clutter_light, 0.12, hue + rng.uniform(-2, 2))
    picture = _mix(picture, clutter, _coverage(lambda draw: _paint_clutter(rng, draw)))

    outlines = _placed(_SHAPES[class_name], rng)

    def paint_shape(draw: Any) -> None:
        for outline, fill in zip(outlines, (255, 0), strict=False):
            draw.polygon(outline, fill=fill)

    shift = (rng.uniform(-2.5, 2.5), rng.uniform(-2.5, 2.5))
    shadow = _coverage(paint_shape, blur=1.6, shift=shift)
    picture = picture * (1 - rng.uniform(0.1, 0.4) * shadow)[..., None]
    fill = _gradient(rng, light, rng.uniform(0.11, 0.19), shape_hue, swing=0.8)
    picture = _mix(picture, fill, _coverage(paint_shape))

    grain = rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(0.005, 0.03)
    return Image.fromarray(((picture + grain).clip(0, 1) * 255 + 0.5).astype(np.uint8))
