"""What of a checkpoint a run starts from."""

import pytest
import torch
from helpers.loaded import CLASS_NAMES, loaded_model

from fastvit_cli.training.config import TrainConfig
from fastvit_cli.training.start import prepare_start

CONFIG = TrainConfig(variant="t8", img_size=64)
OTHERS = ("ant", "bee", "cow", "dog", "eel")


@pytest.mark.parametrize("known", [CLASS_NAMES, None])
def test_the_head_is_kept_for_the_same_classes(known: tuple[str, ...] | None) -> None:
    """A file without names has as many classes as the data: they are taken for the same."""
    loaded = loaded_model("t8", known)
    start = prepare_start(CONFIG, loaded, CLASS_NAMES, "data")
    assert start.notes == ("Starts from The published model; its head is kept.",)
    mine, theirs = start.network.state_dict(), loaded.network.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in theirs.items())
    assert start.info.class_names == CLASS_NAMES


@pytest.mark.parametrize("names", [OTHERS, CLASS_NAMES[::-1], CLASS_NAMES[:4]])
def test_other_classes_get_a_new_head(names: tuple[str, ...]) -> None:
    """Also as many of them: logits of other names, or in another order, are wrong."""
    loaded = loaded_model("t8")
    start = prepare_start(CONFIG, loaded, names, "data")
    assert f"a new head for {len(names)} classes replaces its 5" in start.notes[0]
    mine, theirs = start.network.state_dict(), loaded.network.state_dict()
    fresh = [
        name for name in mine if mine[name].shape != theirs[name].shape or not torch.equal(mine[name], theirs[name])
    ]
    assert fresh == ["head.fc.weight", "head.fc.bias"]
    assert (start.info.num_classes, start.info.class_names) == (len(names), names)
