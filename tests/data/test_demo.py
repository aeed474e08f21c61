"""The demo data set: it can be drawn anywhere, is always the same, and is neither trivial nor leaky."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastvit_cli.data import demo
from fastvit_cli.data.demo import ensure_demo_dataset
from fastvit_cli.data.demo_drawing import DEMO_CLASSES, IMAGE_SIZE, IMAGES_PER_CLASS, draw_image
from fastvit_cli.errors import FastViTError

Split = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_demo_dataset(tmp_path_factory.mktemp("demo") / "nested" / "demo-v1")


def load(root: Path, split: str) -> Split:
    """Flattened pixels, averaged 4 by 4, and labels. The linear fits score the same on all pixels, slower."""
    pixels, labels = [], []
    for label, name in enumerate(DEMO_CLASSES):
        for file in sorted((root / split / name).glob("*.jpg")):
            with Image.open(file) as image:
                pixels.append(np.asarray(image.reduce(4), dtype=np.float32).ravel())
            labels.append(label)
    return torch.from_numpy(np.stack(pixels)) / 127.5 - 1, torch.tensor(labels)


@pytest.fixture(scope="module")
def splits(demo_set: Path) -> tuple[Split, Split]:
    return load(demo_set, "train"), load(demo_set, "val")


def linear_accuracy(train: Split, val: Split, decay: float) -> float:
    """Val accuracy (0 to 1) of a multinomial logistic regression with L2 penalty `decay`."""
    (x, y), (val_x, val_y) = train, val
    mean, std = x.mean(0), x.std(0) + 1e-3
    x, val_x = (x - mean) / std, (val_x - mean) / std
    weight = torch.zeros(x.shape[1], len(DEMO_CLASSES), requires_grad=True)
    bias = torch.zeros(len(DEMO_CLASSES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight + bias, y) + decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return ((val_x @ weight + bias).argmax(1) == val_y).float().mean().item()


def test_layout_is_class_folders_of_small_rgb_jpegs(demo_set: Path) -> None:
    assert sorted(p.name for p in demo_set.iterdir()) == ["train", "val"]
    assert len(DEMO_CLASSES) == 10
    assert list(DEMO_CLASSES) == sorted(DEMO_CLASSES)
    for split, count in IMAGES_PER_CLASS.items():
        assert tuple(sorted(p.name for p in (demo_set / split).iterdir())) == DEMO_CLASSES
        for name in DEMO_CLASSES:
            names = sorted(p.name for p in (demo_set / split / name).iterdir())
            assert names == [f"{i:04d}.jpg" for i in range(count)]
    with Image.open(demo_set / "val" / "star" / "0007.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (IMAGE_SIZE, IMAGE_SIZE))
    assert [p.name for p in demo_set.parent.iterdir()] == ["demo-v1"]  # no draft left beside it


def test_an_image_depends_on_its_name_alone(demo_set: Path, tmp_path: Path) -> None:
    # Another process, with another hash seed, another order and numpy's and Python's global state disturbed.
    script = (
        "import random, sys, numpy as np; random.seed(5); np.random.seed(5)\n"
        "from fastvit_cli.data.demo_drawing import draw_image\n"
        "draw_image('train', 'ring', 9)\n"
        "draw_image('val', 'heart', 3).save(sys.argv[1], quality=92, subsampling=0)\n"
    )
    copy = tmp_path / "copy.jpg"
    env = {**os.environ, "PYTHONHASHSEED": "123"}
    subprocess.run([sys.executable, "-c", script, str(copy)], check=True, env=env)
    assert copy.read_bytes() == (demo_set / "val" / "heart" / "0003.jpg").read_bytes()


def test_no_two_images_are_the_same(demo_set: Path) -> None:
    files = list(demo_set.rglob("*.jpg"))
    assert len({file.read_bytes() for file in files}) == len(files)


@pytest.mark.parametrize("where", [("test", "star", 0), ("train", "hexagon", 0), ("train", "star", -1)])
def test_unknown_image_is_refused(where: tuple[str, str, int]) -> None:
    with pytest.raises(ValueError, match="no demo image"):
        draw_image(*where)


def test_a_finished_set_is_not_drawn_again(demo_set: Path) -> None:
    calls: list[tuple[int, int]] = []
    before = (demo_set / "train" / "star" / "0000.jpg").stat().st_mtime_ns
    assert ensure_demo_dataset(demo_set, lambda done, total: calls.append((done, total))) == demo_set
    assert calls == []
    assert (demo_set / "train" / "star" / "0000.jpg").stat().st_mtime_ns == before


def test_progress_and_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda app: tmp_path / app)  # for other systems
    monkeypatch.setattr(demo, "IMAGES_PER_CLASS", {"train": 2, "val": 1})
    calls: list[tuple[int, int]] = []
    root = ensure_demo_dataset(on_progress=lambda done, total: calls.append((done, total)))
    assert root == tmp_path / "fastvit" / "demo-v1"
    assert calls == [(i, 30) for i in range(1, 31)]


def test_interrupted_drawing_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "IMAGES_PER_CLASS", {"train": 3, "val": 2})
    root = tmp_path / "demo-v1"

    def interrupt(done: int, _total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_demo_dataset(root, interrupt)
    assert list(tmp_path.iterdir()) == []
    ensure_demo_dataset(root)
    assert len(list(root.rglob("*.jpg"))) == 50


def test_another_process_may_finish_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "IMAGES_PER_CLASS", {"train": 1, "val": 1})
    root = tmp_path / "demo-v1"

    def overtake(done: int, total: int) -> None:
        if done == total:
            ensure_demo_dataset(root)

    assert ensure_demo_dataset(root, overtake) == root
    assert [p.name for p in tmp_path.iterdir()] == ["demo-v1"]
    assert len(list(root.rglob("*.jpg"))) == 20


def test_foreign_or_damaged_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "IMAGES_PER_CLASS", {"train": 1, "val": 1})
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FastViTError, match="not a complete demo data set"):
        ensure_demo_dataset(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]

    root = ensure_demo_dataset(tmp_path / "set")
    (root / "train" / "star" / "0000.jpg").unlink()
    with pytest.raises(FastViTError, match="not a complete demo data set"):
        ensure_demo_dataset(root)


def test_unwritable_place_is_reported_with_a_hint(tmp_path: Path) -> None:
    # A file where a folder is needed: unlike permissions, this stops the superuser as well.
    (tmp_path / "file").write_text("")
    with pytest.raises(FastViTError, match="Cannot write the demo data set") as caught:
        ensure_demo_dataset(tmp_path / "file" / "demo-v1")
    assert "writable" in str(getattr(caught.value, "hint", ""))


def test_a_linear_classifier_does_not_solve_it(splits: tuple[Split, Split]) -> None:
    best = max(linear_accuracy(*splits, decay) for decay in (1e-2, 1e-1, 1.0))
    assert 0.12 < best < 0.50  # above chance, so the fit did work


def test_shuffled_labels_teach_nothing(splits: tuple[Split, Split]) -> None:
    (x, y), val = splits
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    assert linear_accuracy((x, y[order]), val, 1e-2) < 0.20


def test_importing_the_module_loads_nothing_heavy() -> None:
    heavy = ("numpy", "PIL", "torch", "timm")
    script = f"import sys, fastvit_cli.data.demo\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
