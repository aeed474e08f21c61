"""Classes of single images, without labels."""

import glob
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.class_folders import IMAGES_HINT, is_image
from fastvit_cli.data.class_map import unnamed
from fastvit_cli.data.decoding import Pixels
from fastvit_cli.data.deep_images import added_up
from fastvit_cli.data.imagenet import IMAGENET_CLASSES, descriptions, synset_indices
from fastvit_cli.data.passed_over import HIDDEN, kind_of, passed_over_words
from fastvit_cli.data.picture import Picture, reason_of
from fastvit_cli.data.transforms import evaluation_transform
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.evaluate import SplitWhenOutOfMemory
from fastvit_cli.evaluation.validate_options import PredictConfig
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import Runtime

_NO_ANSWER = "the network gives NaN or infinity"


@dataclass(frozen=True)
class Guess:
    """A class, its index among the model's, and its probability, 0 to 1."""

    name: str
    index: int
    probability: float


@dataclass(frozen=True)
class ImageGuesses:
    """The most probable classes of one image, or why there are none."""

    image: str
    guesses: tuple[Guess, ...]
    error: str | None = None


@dataclass(frozen=True)
class PredictResult:
    """In the order in which the images were named.

    Attributes:
        deep: images of more than 8 bits, by what they were.
        passed_over: other files in the folders, by `passed_over.kind_of`.
    """

    model: str
    engine: str
    images: tuple[ImageGuesses, ...]
    deep: dict[str, int]
    passed_over: dict[str, int]


@dataclass(frozen=True)
class FoundImages:
    """The images that are meant, and other files in the folders that were named, by `passed_over.kind_of`."""

    paths: tuple[Path, ...]
    passed_over: dict[str, int]


def find_images(words: Sequence[str]) -> FoundImages:
    """The images that are meant: files as named, those below a folder and those of a glob sorted.

    Raises:
        FastViTError: none, or nothing at one of the words.
    """
    if not words:
        raise FastViTError("No image is named.", "Type images, folders or globs: fastvit predict photo.jpg.")
    passed_over: Counter[str] = Counter()
    found = [path for word in words for path in _images_of(word, passed_over)]
    return FoundImages(tuple(dict.fromkeys(found)), added_up(passed_over.items()))


def _images_of(word: str, passed_over: "Counter[str]") -> list[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        return _images_below(path, passed_over)
    if path.exists():
        return [path]
    matches = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - knows absolute patterns
    files = [match for match in matches if match.is_file()]
    if not files:
        raise FastViTError(
            f"There is no image '{word}'.", "Type an image, a folder or a quoted glob such as '*.jpg'."
        )
    return files


def _images_below(folder: Path, passed_over: "Counter[str]") -> list[Path]:
    others: Counter[str] = Counter()
    found = []
    for path in sorted(folder.rglob("*")):
        if is_image(path):
            found.append(path)
        elif path.is_file():
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            others[HIDDEN if hidden else kind_of(path.name)] += 1
    if not found:
        raise FastViTError(f"The folder '{folder}' holds no images.", passed_over_words(others) or IMAGES_HINT)
    passed_over.update(others)
    return found


def class_names(info: ModelInfo) -> tuple[str, ...]:
    """What to call the classes: the model's names; for ImageNet's thousand their words.

    Raises:
        FastViTError: the model is no classifier.
    """
    info.check_classifier()
    if info.class_descriptions is not None:
        return info.class_descriptions
    if info.num_classes != IMAGENET_CLASSES:
        return info.class_names or tuple(map(unnamed, range(info.num_classes)))
    if info.class_names is None:
        return descriptions()
    return tuple(
        descriptions()[synset_indices()[name]] if name in synset_indices() else name for name in info.class_names
    )


def guess(
    config: PredictConfig,
    runtime: Runtime,
    found: FoundImages,
    model: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> PredictResult:
    """The `config.top_k` most probable classes of each image.

    Images are turned upright by their EXIF orientation where the model's file does not say that it learned otherwise.

    An image that cannot be read, or has logits that are not finite, gets the reason in the place of classes.

    Raises:
        FastViTError: the model is no classifier.
        WorkFailedError: the device has no memory for one image.
    """
    names, forward = class_names(runtime.info), SplitWhenOutOfMemory(runtime)
    preprocessing = runtime.info.preprocessing.at_size(config.img_size).with_exif(config.exif, otherwise=True)
    rows: list[ImageGuesses] = []
    deep: Counter[str] = Counter()
    for start in range(0, len(found.paths), config.batch_size):
        batch = found.paths[start : start + config.batch_size]
        pixels, errors = _read(batch, preprocessing, deep)
        guesses = iter(_guesses(forward, pixels, names, config.top_k))
        for path, error in zip(batch, errors, strict=True):
            best = () if error else next(guesses)
            rows.append(ImageGuesses(str(path), best, error if error or best else _NO_ANSWER))
        if on_progress is not None:
            on_progress(len(rows), len(found.paths))
    return PredictResult(model, runtime.engine, tuple(rows), added_up(deep.items()), found.passed_over)


def _read(
    paths: Sequence[Path], preprocessing: Preprocessing, deep: "Counter[str]"
) -> tuple[list[Pixels], list[str | None]]:
    """The squares of the images that can be read, and for every image what is wrong with it; counts deep ones."""
    transform, exif = evaluation_transform(preprocessing), bool(preprocessing.exif)
    pixels: list[Pixels] = []
    errors: list[str | None] = []
    for path in paths:
        try:
            picture = Picture.open(path.read_bytes(), exif=exif)
            pixels.append(transform(picture))
            deep.update([picture.deep] if picture.deep else [])
            errors.append(None)
        except Exception as error:  # decoders raise many types on damaged files
            errors.append(reason_of(error))
    return pixels, errors


def _guesses(
    forward: SplitWhenOutOfMemory, pixels: list[Pixels], names: tuple[str, ...], count: int
) -> Iterator[tuple[Guess, ...]]:
    if not pixels:
        return
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    best = forward(images).double().softmax(1).topk(min(count, len(names)), dim=1)
    for probabilities, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        pairs = zip(indices, probabilities, strict=True)
        # Of logits that are not finite no softmax is: such an image has no classes.
        yield tuple(Guess(names[index], index, value) for index, value in pairs if math.isfinite(value))
