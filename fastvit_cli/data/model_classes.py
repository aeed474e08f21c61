"""Which output of the model stands for which class of the images."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from fastvit_cli.data.class_map import some, unnamed
from fastvit_cli.data.imagenet import IMAGENET_CLASSES, descriptions, positions_of_synsets, synset_indices
from fastvit_cli.data.images import ImageFolder, Images, relabel
from fastvit_cli.errors import FastViTError


@dataclass(frozen=True)
class ClassMatch:
    """How the classes of some images were found among a model's outputs.

    Attributes:
        outputs: index of the model's output for each class of the images.
        class_names: one for each output of the model.
        assumed: what was taken for granted, for the user to read; empty where names decide.
    """

    outputs: tuple[int, ...]
    class_names: tuple[str, ...]
    assumed: str = ""


def match_classes(images: Images, num_classes: int, class_names: tuple[str, ...] | None) -> ClassMatch:
    """Find each class of the images among the model's outputs.

    By name where the model knows its names; the images may be of only some of them. ImageNet's synsets are found in
    any model of its thousand classes. Folders that are named by whole numbers name the outputs themselves. What is
    left are as many folders as a model without names has outputs: they are taken in timm's order.

    Raises:
        FastViTError: a class the model does not have, or another number of classes.
    """
    found = _imagenet_match(images, num_classes, class_names)
    if found is None and class_names is not None:
        found = _named_match(images, class_names)
    if found is None:
        found = _numbered_match(images, num_classes, class_names)
    if found is not None:
        return found
    if class_names is not None:
        unknown = sorted(set(images.class_names) - set(class_names))
        raise FastViTError(
            f"'{images.where}' holds {len(unknown)} classes that the model does not know: {some(unknown)}.",
            f"The model knows {len(class_names)}: {some(list(class_names))}. Pass its own --data, or a --class-map.",
        )
    if len(images.class_names) != num_classes:
        raise FastViTError(
            f"'{images.where}' holds {len(images.class_names)} classes and the model has {num_classes}.",
            "Pass the --data it was trained for, or a --class-map: its file does not say the names of its classes.",
        )
    return _match_in_timms_order(images)


def with_model_classes(images: Images, match: ClassMatch) -> Images:
    """The same images with labels that index the model's outputs."""
    lookup = np.array(match.outputs, dtype=np.int32)
    return images.relabelled(match.class_names, relabel(images.labels, lookup))


def with_mapped_classes(images: Images, num_classes: int, class_names: tuple[str, ...] | None) -> Images:
    """Images whose labels come from a class map, and so index the model's outputs already, under its names.

    Raises:
        FastViTError: an index the model does not have, or the model knows a class by another index.
    """
    largest = int(images.labels.max())
    if largest >= num_classes:
        raise FastViTError(
            f"The class map gives '{images.class_names[largest]}' of '{images.where}' the index {largest}, "
            f"and the model has {num_classes} classes, from index 0.",
            "Pass the --class-map of the data it was trained for.",
        )
    for name in set(images.class_names).intersection(class_names or ()):
        mapped, known = images.class_names.index(name), (class_names or ()).index(name)
        if mapped != known:
            raise FastViTError(
                f"The class map gives '{name}' the index {mapped}, and the model knows it as {known}.",
                "Pass the --class-map it was trained with, or none: the model knows the names of its classes.",
            )
    missing = tuple(unnamed(index) for index in range(len(images.class_names), num_classes))
    return images.relabelled(class_names or (images.class_names + missing)[:num_classes], images.labels)


def _imagenet_match(images: Images, num_classes: int, class_names: tuple[str, ...] | None) -> ClassMatch | None:
    """Where the model has each synset, for folders named by synset and a model whose classes are not."""
    if num_classes != IMAGENET_CLASSES or set(images.class_names) <= set(class_names or ()):
        return None
    synsets = synset_indices()
    if not set(images.class_names) <= set(synsets):
        return None
    positions = synsets if class_names is None else positions_of_synsets(class_names)
    if positions is None:
        return None
    return ClassMatch(tuple(positions[name] for name in images.class_names), class_names or descriptions())


def _named_match(images: Images, class_names: tuple[str, ...]) -> ClassMatch | None:
    if not set(images.class_names) <= set(class_names):
        return None
    counts = Counter(class_names)
    twice = next((name for name in images.class_names if counts[name] > 1), None)
    if twice is not None:
        raise FastViTError(
            f"The model does not say which class '{twice}' of '{images.where}' is: two outputs are called '{twice}'.",
            "Pass a --class-map.",
        )
    position = {name: index for index, name in enumerate(class_names)}
    return ClassMatch(tuple(position[name] for name in images.class_names), class_names)


def _numbered_match(images: Images, num_classes: int, class_names: tuple[str, ...] | None) -> ClassMatch | None:
    """Folders such as ImageNet-V2's 0 to 999, each of them an index of the model's outputs."""
    if not all(name.isascii() and name.isdecimal() for name in images.class_names):
        return None
    outputs = tuple(int(name) for name in images.class_names)
    if (
        len(set(outputs)) < len(outputs)
        or max(outputs) >= num_classes
        or set(images.class_names) & set(class_names or ())
    ):
        return None
    names = class_names or tuple(str(index) for index in range(num_classes))
    # All of 0, 1, 2 …: timm's order of them is the same.
    certain = class_names is None and len(outputs) == num_classes
    assumed = "" if certain else f"The folders are numbers: folder {images.class_names[-1]} is output {outputs[-1]}."
    return ClassMatch(outputs, names, assumed)


def _match_in_timms_order(images: Images) -> ClassMatch:
    """As many folders as outputs, and no names: timm and the reference number folders in this order."""
    names = images.class_names
    # The labels of other data sets are their own, and no positions among folders.
    ordered = tuple(sorted(names, key=timm_order)) if isinstance(images, ImageFolder) else names
    if ordered == names:
        return ClassMatch(tuple(range(len(names))), names)
    place, (first, second) = next(
        (place, pair) for place, pair in enumerate(zip(ordered, names, strict=True)) if pair[0] != pair[1]
    )
    assumed = (
        f"The model's file names no classes: they are taken in timm's order, so that output {place} is "
        f"'{first}' and not '{second}'; --class-map FILE sets another."
    )
    return ClassMatch(tuple(ordered.index(name) for name in names), ordered, assumed)


def timm_order(name: str) -> tuple[list[str | int], str]:
    """Sort key of class folders in timm and the reference: without case, and numbers inside by their value.

    >>> sorted(["10", "b2", "2", "B10"], key=timm_order)
    ['2', '10', 'b2', 'B10']
    """
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
