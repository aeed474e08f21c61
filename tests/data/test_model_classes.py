"""Which output of a model stands for which folder: by name, by number, in timm's order, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_data import class_folders
from PIL import Image

from fastvit_cli.data.class_map import ClassMap, apply
from fastvit_cli.data.images import Images
from fastvit_cli.data.model_classes import match_classes, timm_order, with_mapped_classes, with_model_classes
from fastvit_cli.data.sources import open_split
from fastvit_cli.data.timm_images import TorchImages
from fastvit_cli.errors import FastViTError


def _matched(images: Images, num_classes: int, class_names: tuple[str, ...] | None) -> Images:
    return with_model_classes(images, match_classes(images, num_classes, class_names))


def test_labels_follow_the_names_of_the_model() -> None:
    images = _matched(class_folders("bee", "dog"), 3, ("dog", "ant", "bee"))
    assert images.labels.tolist() == [2, 0]
    assert images.labels.dtype == np.int32
    assert images.class_names == ("dog", "ant", "bee")


def test_labels_that_the_model_shares_are_not_copied() -> None:
    folder = class_folders("ant", "bee")
    assert _matched(folder, 3, ("ant", "bee", "dog")).labels is folder.labels
    assert _matched(folder, 2, None).labels is folder.labels


def test_classes_the_model_does_not_know() -> None:
    with pytest.raises(FastViTError, match="'x' holds 2 classes that the model does not know: bee, cow"):
        _matched(class_folders("ant", "bee", "cow"), 1, ("ant",))
    with pytest.raises(FastViTError, match="holds 2 classes and the model has 3"):
        _matched(class_folders("ant", "bee"), 3, None)
    assert _matched(class_folders("ant", "bee"), 2, None).labels.tolist() == [0, 1]


def test_labels_of_a_class_map_are_the_outputs_of_the_model() -> None:
    folder = apply(class_folders("ant", "bee"), ClassMap("map", {"ant": 2, "bee": 0}))
    images = with_mapped_classes(folder, 4, None)
    assert images.labels.tolist() == [2, 0]
    assert images.class_names == ("bee", "class 1", "ant", "class 3")
    named = with_mapped_classes(folder, 3, ("a bee", "a cow", "an ant"))
    assert (named.labels.tolist(), named.class_names) == ([2, 0], ("a bee", "a cow", "an ant"))
    with pytest.raises(FastViTError, match="gives 'ant' of 'x' the index 2, and the model has 2 classes"):
        with_mapped_classes(folder, 2, None)


def test_a_class_map_may_name_more_classes_than_the_model_has() -> None:
    folder = apply(class_folders("ant", "bee"), ClassMap("map", {"ant": 1, "bee": 0, "cow": 7}))
    assert with_mapped_classes(folder, 2, None).class_names == ("bee", "ant")


def test_a_class_map_that_contradicts_the_model() -> None:
    mapped = apply(class_folders("ant", "bee"), ClassMap("map.txt", {"bee": 0, "ant": 1}))
    with pytest.raises(FastViTError, match="the model knows it as"):
        with_mapped_classes(mapped, 2, ("ant", "bee"))
    assert with_mapped_classes(mapped, 2, ("bee", "ant")).labels.tolist() == [1, 0]


def test_imagenet_folders_find_their_place_in_a_model_of_words() -> None:
    """Apple's packages name ImageNet's classes in words, and folders are named by synsets."""
    from fastvit_cli.data.imagenet import descriptions

    synsets = ("n01440764", "n02012849")  # a tench, and the crane that is a bird
    images = class_folders(*synsets)
    words = tuple(words.split(",")[0] for words in descriptions())
    for names in (None, words, tuple(reversed(words))):
        found = _matched(images, 1000, names)
        assert [found.class_names[label].split(",")[0] for label in found.labels] == ["tench", "crane"]
    assert _matched(images, 1000, None).labels.tolist() == [0, 134]


def test_a_model_without_names_has_them_in_timms_order(tmp_path: Path) -> None:
    from timm.data import create_dataset

    names = ("1", "2", "10", "B2", "b10", "a")
    for name in names:
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "val" / name / "x.png")
    by_timm = create_dataset("", root=str(tmp_path / "val")).reader.class_to_idx
    images = open_split(tmp_path, "val")
    match = match_classes(images, len(names), None)
    assert dict(zip(images.class_names, match.outputs, strict=True)) == by_timm
    assert "output 1 is '2' and not '10'; --class-map" in match.assumed
    labelled = with_model_classes(images, match)
    for path, label in zip(images.files, labelled.labels, strict=True):
        assert labelled.class_names[label] == Path(path).parent.name


def test_nothing_is_said_where_the_orders_agree() -> None:
    assert match_classes(class_folders("ant", "bee"), 2, None).assumed == ""
    assert sorted(["10", "b2", "2", "B10"], key=timm_order) == ["2", "10", "b2", "B10"]


def test_labels_that_are_no_places_of_folders_keep_their_order() -> None:
    images = TorchImages("torch/x", ("2", "b", "10"), np.arange(3, dtype=np.int32), None)
    assert match_classes(images, 3, None).outputs == (0, 1, 2)


def test_folders_of_numbers_are_outputs() -> None:
    """As in ImageNet-V2, whose folders are 0 to 999; also for some of them, and a model that names its classes."""
    few = class_folders("0", "10", "100", "2")
    for names in (None, tuple(f"n{index}" for index in range(1000))):
        match = match_classes(few, 1000, names)
        assert match.outputs == (0, 10, 100, 2)
        assert match.assumed == "The folders are numbers: folder 2 is output 2."
    assert match_classes(class_folders("0", "1", "2"), 3, None).assumed == ""


def test_numbers_that_do_not_fit_are_names() -> None:
    assert match_classes(class_folders("1", "10", "2"), 3, None).class_names == ("1", "2", "10")
    with pytest.raises(FastViTError, match="does not know: 1, 10, 2"):
        match_classes(class_folders("1", "10", "2"), 3, ("ant", "bee", "cow"))
    with pytest.raises(FastViTError, match="does not know: 5"):  # 2 is a name of the model's, and so is 5 meant
        match_classes(class_folders("2", "5"), 9, tuple("234679abc"))
    with pytest.raises(FastViTError, match="holds 2 classes and the model has 9"):
        match_classes(class_folders("01", "1"), 9, None)


def test_a_name_that_two_outputs_have() -> None:
    match_classes(class_folders("crane"), 3, ("crane", "swan", "swan"))
    with pytest.raises(FastViTError, match="two outputs are called 'swan'"):
        match_classes(class_folders("crane", "swan"), 3, ("crane", "swan", "swan"))
