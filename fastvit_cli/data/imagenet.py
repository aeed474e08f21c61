"""The classes of ImageNet-1k, as timm lists them: synsets such as n01440764, and their words."""

import functools
from typing import Any

IMAGENET_CLASSES = 1000


@functools.cache
def synset_indices() -> dict[str, int]:
    """Index of each of the thousand synsets."""
    return {synset: index for index, synset in enumerate(_info().label_names())}


@functools.cache
def descriptions() -> tuple[str, ...]:
    """The words of each class by index, such as "tench, Tinca tinca"."""
    info = _info()
    return tuple(str(info.index_to_description(index)) for index in range(IMAGENET_CLASSES))


def positions_of_synsets(labels: tuple[str, ...]) -> dict[str, int] | None:
    """Where a model that names its classes in words, as Apple's packages do, has each synset; None for other classes.

    A word that stands for two classes (crane, maillot) means the first of them at its first place.
    """
    if len(labels) != IMAGENET_CLASSES:
        return None
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(_first_word(label), []).append(place)
    positions: dict[str, int] = {}
    for synset, description in zip(synset_indices(), descriptions(), strict=True):
        found = places.get(_first_word(description))
        if not found:
            return None
        positions[synset] = found.pop(0)
    return positions


def _first_word(label: str) -> str:
    return label.split(",")[0].strip().lower().replace("_", " ")


def _info() -> Any:
    from timm.data import ImageNetInfo

    return ImageNetInfo()
