"""Images that differ as photos do, and what happens to photos."""

from pathlib import Path

import numpy as np
from PIL import Image

from fastvit_cli.data.decoding import Pixels


def photo(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """Clouds of colour, with finer ones in them."""
    random = np.random.default_rng(seed)
    coarse, fine = (Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)) for size in ((4, 5), (16, 20)))
    size = (width, height)
    return Image.blend(
        coarse.resize(size, Image.Resampling.BICUBIC), fine.resize(size, Image.Resampling.BICUBIC), 0.4
    )


def pixels_of(image: Image.Image) -> Pixels:
    return np.asarray(image)


def save_photos(folder: Path, seeds: range, quality: int = 90) -> None:
    """`folder/SEED.jpg` of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        photo(seed).save(folder / f"{seed:03d}.jpg", quality=quality)
