"""Files that say something about labels: ImageNet-ReaL's, and subsets of the classes."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.data.imagenet import synset_indices
from fastvit_cli.distributed import World
from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.names import composed

_VALIDATION_NUMBER = re.compile(r"_(\d{8})(?:_n\d{8})?\.\w+$")
_REAL_HINT = "Pass real.json of https://github.com/google-research/reassessed-imagenet: a list of labels an image."
_SUBSET_HINT = "A label file holds one class a line: its index in the model, or its name."


@dataclass(frozen=True)
class RealScores:
    """Against labels of which an image may have several; images without any are left out.

    Attributes:
        top1, top5: percent of the images with labels.
    """

    top1: float
    top5: float
    num_images: int


class RealLabels:
    """ImageNet-ReaL (Beyer et al., 2020): for each validation image, every class that is right.

    Raises:
        FastViTError: not such a file, or labels that the model does not have.
    """

    def __init__(self, path: Path, num_classes: int) -> None:
        text = _read(path, "ReaL labels", _REAL_HINT)
        try:
            read = json.loads(text)
            self._labels = [frozenset(int(label) for label in labels) for labels in read]
        except (ValueError, TypeError, RecursionError) as error:
            raise FastViTError(f"'{path}' holds no ReaL labels ({type(error).__name__}).", _REAL_HINT) from error
        largest = max((max(labels) for labels in self._labels if labels), default=-1)
        if not 0 <= largest < num_classes:
            raise FastViTError(
                f"'{path}' holds labels up to {largest}, and the model has {num_classes} classes.", _REAL_HINT
            )
        self._path = path
        self._top1 = self._top5 = self._images = 0

    def add(self, logits: Tensor, names: list[str]) -> None:
        """Count one batch: logits (B, classes), and the names of its images.

        Raises:
            FastViTError: a name without the number of a validation image.
        """
        first, best = logits.argmax(1).tolist(), logits.topk(min(5, logits.shape[1]), dim=1).indices.tolist()
        for name, top1, top5 in zip(names, first, best, strict=True):
            labels = self._labels[self._position(name)]
            if labels:
                self._images += 1
                self._top1 += top1 in labels
                self._top5 += not labels.isdisjoint((top1, *top5))

    def _position(self, name: str) -> int:
        found = _VALIDATION_NUMBER.search(name)
        number = int(found.group(1)) if found else 0
        if not 1 <= number <= len(self._labels):
            raise FastViTError(
                f"'{name}' is none of the {len(self._labels):,} images that '{self._path}' is about.",
                "ReaL labels go by the number in names such as ILSVRC2012_val_00000001.JPEG.",
            )
        return number - 1

    def add_up(self, world: World) -> None:
        """Take in what the other processes counted."""
        mine = torch.tensor([self._top1, self._top5, self._images])
        self._top1, self._top5, self._images = world.all_reduce_sum(mine).tolist()

    @property
    def scores(self) -> RealScores | None:
        """So far; None while no image had labels."""
        if not self._images:
            return None
        return RealScores(100.0 * self._top1 / self._images, 100.0 * self._top5 / self._images, self._images)


def read_valid_labels(path: Path, num_classes: int, class_names: tuple[str, ...] | None) -> tuple[int, ...]:
    """Indices of the classes that a text file allows, ascending; it names them by index, name or ImageNet synset.

    Raises:
        FastViTError: not such a file, or a class that the model does not have.
    """
    words = [composed(line.strip()) for line in _read(path, "labels", _SUBSET_HINT).splitlines() if line.strip()]
    if not words:
        raise FastViTError(f"The label file '{path}' is empty.", _SUBSET_HINT)
    known = {name: index for index, name in enumerate(class_names or ())}
    if num_classes == 1000:
        known = synset_indices() | known
    indices = [known.get(word, int(word) if word.isascii() and word.isdigit() else -1) for word in words]
    for number, (word, index) in enumerate(zip(words, indices, strict=True), start=1):
        if not 0 <= index < num_classes:
            raise FastViTError(
                f"Line {number} of '{path}', '{word}', is no class of the model, which has {num_classes}.",
                f"{closest(word, known)}{_SUBSET_HINT}",
            )
    return tuple(sorted(set(indices)))


def _read(path: Path, what: str, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise FastViTError(f"The file of {what} '{path}' cannot be read ({reason}).", hint) from error
    except UnicodeDecodeError as error:
        raise FastViTError(f"The file of {what} '{path}' is not a text file.", hint) from error
