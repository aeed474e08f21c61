"""Images per second and core: our loader beside timm's on the same files, and beside decoding alone.

    python tests/benchmarks/loader.py --data FOLDER [--rounds 9] [--workers 1] [--weights FILE]

FOLDER holds class folders of JPEGs. Every subject reads all of them in every round, one after the other, so that a
machine which slows down slows down all; ratios are taken within a round. All hand over uint8 batches, and with one
worker the rate is that of one core.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timm.data import create_dataset, create_loader

from fastvit_cli import load_model
from fastvit_cli.data.class_folders import list_class_folders
from fastvit_cli.data.decoding import Pixels
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.picture import Picture
from fastvit_cli.data.transforms import FAST, PIL, Augmentation, Transform, evaluation_transform, training_transform
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.ui.tables import data_table

DECODING = "decoding alone"
SIZE, BATCH, POLICY = 256, 64, "rand-m9-mstd0.5-inc1"
PREPROCESSING = Preprocessing(img_size=SIZE)
Epoch = Callable[[], Iterator[torch.Tensor]]


def cut(picture: Picture) -> Pixels:
    """A square of the right size without resizing: what is left is reading, decoding all of it and handing over."""
    pixels = picture.pixels()
    square = np.zeros((SIZE, SIZE, 3), np.uint8)
    part = pixels[:SIZE, :SIZE]
    square[: part.shape[0], : part.shape[1]] = part
    return square


def ours(folder: Path, transform: Transform, workers: int, training: bool) -> Epoch:
    """One epoch of our loader."""
    loader = ImageLoader(list_class_folders(folder).images, transform, LoaderOptions(SIZE, BATCH, workers, training))

    def epoch() -> Iterator[torch.Tensor]:
        for batch in loader.epoch():
            yield batch.images

    return epoch


def timms(folder: Path, workers: int, training: bool) -> Epoch:
    """One epoch of timm's loader as its scripts set it up, without the normalisation that it leaves to the device."""
    prefetching = create_loader(
        create_dataset("", root=str(folder)),
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=training,
        use_prefetcher=True,
        interpolation="random" if training else "bicubic",
        crop_pct=PREPROCESSING.crop_pct,
        auto_augment=POLICY if training else None,
        re_prob=0.25 if training else 0.0,
        re_mode="pixel",
        color_jitter=0.4,
        mean=PREPROCESSING.mean,
        std=PREPROCESSING.std,
        num_workers=workers,
        pin_memory=False,
        device=torch.device("cpu"),
        persistent_workers=workers > 0,
    )

    def epoch() -> Iterator[torch.Tensor]:
        for images, _ in prefetching.loader:
            yield images

    return epoch


def measure(subjects: dict[str, Epoch], rounds: int) -> dict[str, list[float]]:
    """Images a second of each subject in each round; one round before them starts the workers."""
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(rounds + 1):
        for name, epoch in subjects.items():
            started, images = time.perf_counter(), 0
            for batch in epoch():
                images += len(batch)
            if turn:
                rates[name].append(images / (time.perf_counter() - started))
    return rates


def table(title: str, rates: dict[str, list[float]], reference: str) -> Table:
    """Median and range of the rates, and of the ratios to the reference within a round."""
    rows = []
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, rates[reference], strict=True)]
        rows.append((name, _spread(values, ".0f"), _spread(ratios, ".2f")))
    return data_table(("", "images/s", f"x {reference}"), rows, title=title)


def _spread(values: list[float], style: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{style}} ({low:{style}}-{high:{style}})"


def many(folder: Path, into: Path, at_least: int) -> Path:
    """The same files often enough for an epoch of some seconds, as links."""
    files = sorted(path.resolve() for path in folder.glob("*/*") if path.is_file())
    for copy in range(-(-at_least // len(files))):
        for path in files:
            link = into / path.parent.name / f"{copy}-{path.name}"
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(path)
    return into


def agreement(folder: Path, weights: Path) -> str:
    """Cosine similarity of a network's features between both evaluation paths, over all images."""
    network = load_model(weights)
    mean, std = (torch.tensor(values)[:, None, None] for values in (PREPROCESSING.mean, PREPROCESSING.std))
    images = list_class_folders(folder).images

    def features(kind: str) -> torch.Tensor:
        transform, found = evaluation_transform(PREPROCESSING, kind), []
        for index in range(len(images)):
            pixels = torch.from_numpy(np.array(transform(Picture.open(images.read(index))))).permute(2, 0, 1)
            found.append(network(((pixels / 255 - mean) / std)[None]))
        return torch.cat(found).double()

    with torch.inference_mode():
        cosine = torch.nn.functional.cosine_similarity(features(FAST), features(PIL))
    return (
        f"Cosine of features, fast and pil: worst {cosine.min():.6f}, mean {cosine.mean():.7f}, {len(cosine)} images"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--weights", type=Path, help="also compare a trained network's features")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=100)
    if arguments.weights is not None:
        console.print(agreement(arguments.data, arguments.weights))
    with tempfile.TemporaryDirectory() as place:
        folder = many(arguments.data, Path(place), arguments.images)
        workers = arguments.workers
        evaluation = {
            "timm": timms(folder, workers, training=False),
            "fastvit": ours(folder, evaluation_transform(PREPROCESSING, FAST), workers, training=False),
            "fastvit, --transforms pil": ours(
                folder, evaluation_transform(PREPROCESSING, PIL), workers, training=False
            ),
            DECODING: ours(folder, cut, workers, training=False),
        }
        rates = measure(evaluation, arguments.rounds)
        console.print(table(f"Evaluation, {SIZE} px, {workers} worker(s)", rates, "timm"))
        console.print(table("The same beside decoding", rates, DECODING))
        augmentation = Augmentation(auto_augment=POLICY)
        training = {
            "timm": timms(folder, workers, training=True),
            "fastvit": ours(folder, training_transform(PREPROCESSING, augmentation, FAST), workers, training=True),
            "fastvit, --transforms pil": ours(
                folder, training_transform(PREPROCESSING, augmentation, PIL), workers, training=True
            ),
        }
        console.print(table(f"Training, {POLICY}", measure(training, arguments.rounds), "timm"))


if __name__ == "__main__":
    main()
