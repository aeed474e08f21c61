"""A data set small enough to train on within seconds: three of the demo's classes."""

from pathlib import Path

import numpy as np

from fastvit_cli.data.demo_drawing import draw_image
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames

TINY_CLASSES = ("circle", "cross", "star")


def draw_tiny_data(root: Path, train: int = 8, val: int = 4, classes: tuple[str, ...] = TINY_CLASSES) -> Path:
    """Class folders `train/` and `val/` with this many images a class; returns `root`."""
    for split, count in (("train", train), ("val", val)):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                draw_image(split, name, index).save(folder / f"{index:02d}.jpg", quality=90)
    return root


def class_folders(*names: str) -> ImageFolder:
    """A split that exists on paper alone: one image in each of these folders."""
    files = PackedNames.of(f"{name}.jpg" for name in names)
    return ImageFolder(Path("x"), names, files, np.arange(len(names), dtype=np.int32))
