"""What of a checkpoint a run starts from."""

import pytest
import torch
from helpers.loaded import CLASS_NAMES, loaded_model
from helpers.tiny_data import class_folders

from fastvit_cli.checkpoints.select import random_model
from fastvit_cli.training.initial_model import build_initial_model
from fastvit_cli.training.train_options import TrainConfig

CONFIG = TrainConfig(variant="t8", img_size=64)
OTHERS = ("ant", "bee", "cow", "dog", "eel")


@pytest.mark.parametrize("known", [CLASS_NAMES, None])
def test_the_head_is_kept_for_the_same_classes(known: tuple[str, ...] | None) -> None:
    """A file without names has as many classes as the data: they are taken for the same."""
    loaded = loaded_model("t8", known)
    start = build_initial_model(CONFIG, loaded, class_folders(*CLASS_NAMES), "data")
    assert start.notes == ("Starts from The published model; its head is kept.",)
    mine, theirs = start.network.state_dict(), loaded.network.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in theirs.items())
    assert start.info.class_names == CLASS_NAMES


@pytest.mark.parametrize("names", [OTHERS, CLASS_NAMES[:4]])
def test_other_classes_get_a_new_head(names: tuple[str, ...]) -> None:
    """Also as many of them: logits of other names are wrong."""
    loaded = loaded_model("t8")
    start = build_initial_model(CONFIG, loaded, class_folders(*names), "data")
    assert f"a new head for {len(names)} classes replaces its 5" in start.notes[0]
    mine, theirs = start.network.state_dict(), loaded.network.state_dict()
    fresh = [
        name for name in mine if mine[name].shape != theirs[name].shape or not torch.equal(mine[name], theirs[name])
    ]
    assert fresh == ["head.fc.weight", "head.fc.bias"]
    assert (start.info.num_classes, start.info.class_names) == (len(names), names)


def test_the_head_is_kept_in_the_order_of_the_folders() -> None:
    """A file without names has its outputs in timm's order of the folders, one with names in its own."""
    folders = ("1", "10", "2", "3", "a")
    for known, rows in ((None, [0, 3, 1, 2, 4]), (("a", "3", "2", "10", "1"), [4, 3, 2, 1, 0])):
        loaded = loaded_model("t8", known)
        start = build_initial_model(CONFIG, loaded, class_folders(*folders), "data")
        assert "its head is kept" in start.notes[0]
        assert ("timm's order" in start.notes[-1]) == (known is None)
        assert torch.equal(start.network.head.fc.weight, loaded.network.head.fc.weight[rows])
        assert torch.equal(start.network.head.fc.bias, loaded.network.head.fc.bias[rows])


def test_a_projection_is_no_head() -> None:
    folders = class_folders(*(f"{index:03}" for index in range(512)))
    loaded = random_model("mci0", None)
    start = build_initial_model(TrainConfig(variant="mci0", img_size=64), loaded, folders, "data")
    assert "a new head for 512 classes replaces its 512" in start.notes[0]
