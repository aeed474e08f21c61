"""What is said of data that is too little, before anything is trained."""

from pathlib import Path

import pytest
from helpers.tiny_data import draw_tiny_data

from fastvit_cli.data.sources import choose_data
from fastvit_cli.errors import FastViTError
from fastvit_cli.training.build import build_trainer
from fastvit_cli.training.resolve_options import resolve_config


def _notes(data: Path, batch_size: int) -> tuple[str, ...]:
    config = resolve_config({"img_size": 32, "workers": 0, "batch_size": batch_size}, "demo")
    return build_trainer(config, choose_data(str(data)), None, lambda _: None).notes


def test_few_updates_an_epoch_are_mentioned(tiny_data: Path) -> None:
    assert _notes(tiny_data, 2) == ()
    assert _notes(tiny_data, 8) == (
        "An epoch of 24 images is 3 updates of 8; a smaller --batch-size makes more of them.",
    )
    assert "is 1 update of 24;" in _notes(tiny_data, 24)[0]


def test_too_few_for_one_update(tiny_data: Path) -> None:
    with pytest.raises(FastViTError, match="24 training images and an update takes 26") as refused:
        _notes(tiny_data, 26)
    assert refused.value.hint == "Pass --batch-size 12 or add images."


def test_one_class_cannot_be_learnt(tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path, train=4, val=1, classes=("circle",))
    with pytest.raises(FastViTError, match="of one class, 'circle'"):
        _notes(data, 2)
