from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.label_files import RealLabels, read_valid_labels

NAMES = ("ant", "bee", "cow")


def test_real_labels(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(json.dumps([[0, 1], [], [2], [9]]))
    labels = RealLabels(tmp_path / "real.json", 10)
    assert labels.scores is None
    logits = torch.nn.functional.one_hot(torch.tensor([1, 4, 3, 9]), 10).float()
    logits[2, 2] = 0.5
    names = [f"val/n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3, 4)]
    labels.add(logits[:2], names[:2])
    labels.add(logits[2:], names[2:])
    scores = labels.scores
    assert scores is not None
    assert scores.num_images == 3, "the second image has no label"
    assert scores.top1 == pytest.approx(200 / 3)
    assert scores.top5 == 100.0


def test_real_labels_of_other_images(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("[[0], [1]]")
    labels = RealLabels(tmp_path / "real.json", 2)
    for name in ("cat.jpg", "ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000000.JPEG"):
        with pytest.raises(FastViTError, match="none of the 2 images"):
            labels.add(torch.zeros(1, 2), [name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no ReaL labels"),
        ("[1, 2]", "no ReaL labels"),
        ("[[7]]", "labels up to 7"),
        ("[[]]", "up to -1"),
    ],
)
def test_bad_real_labels(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(FastViTError, match=message):
        RealLabels(tmp_path / "real.json", 3)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match="cannot be read"):
        RealLabels(tmp_path / "none.json", 3)
    with pytest.raises(FastViTError, match="cannot be read"):
        read_valid_labels(tmp_path / "none.txt", 3, NAMES)


def test_valid_labels_by_index_name_and_synset(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("cow\n0\n\n0\n")
    assert read_valid_labels(tmp_path / "some.txt", 3, NAMES) == (0, 2)
    (tmp_path / "synsets.txt").write_text("n01443537\nn01440764\n")
    assert read_valid_labels(tmp_path / "synsets.txt", 1000, None) == (0, 1)


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("ant\nbe\n", "Line 2 .*'be'"), ("3\n", "'3'")])
def test_bad_valid_labels(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "some.txt").write_text(text)
    with pytest.raises(FastViTError, match=message):
        read_valid_labels(tmp_path / "some.txt", 3, NAMES)
