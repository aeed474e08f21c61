import hashlib
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.timm_specs import check_protocol, pixels_of, png, refused
from helpers.tiny_data import TINY_CLASSES

from fastvit_cli.data.images import Images
from fastvit_cli.data.timm_specs import is_spec, open_spec
from fastvit_cli.errors import FastViTError

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` and the hub's client read the variables once, at their import."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_what_is_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    specs = ["hfds/ylecun/mnist", "torch/cifar10", "WDS//data/shards", "Tfds/mnist:3.*.*", "torch/cifar10@/data"]
    assert all(is_spec(data) for data in specs)
    assert not any(is_spec(data) for data in ("hfds", "hfds/", "photos", "/data/torch/x", "other/cifar10", "demo"))
    (tmp_path / "torch" / "cifar10").mkdir(parents=True)
    assert not is_spec("torch/cifar10")


def test_specs_that_are_incomplete() -> None:
    assert "torch/NAME@FOLDER" in refused("torch/").hint
    assert "hfds/NAME@FOLDER" in refused("hfds/mnist@").hint
    assert refused("wds/").hint == "Write wds/FOLDER."


@pytest.mark.parametrize(
    ("data", "module", "package"),
    [
        ("hfds/mnist", "datasets", "datasets"),
        ("wds/shards", "webdataset", "webdataset"),
        ("tfds/mnist", "tensorflow_datasets", "tensorflow-datasets"),
    ],
)
def test_a_missing_package(data: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    error = refused(data)
    assert error.message == f"'{data}' needs the package {package}, which is not installed."
    assert error.hint == f"Run: pip install {package}"


# Hugging Face


def test_hfds_of_an_image_folder(tiny_data: Path, tmp_path: Path) -> None:
    train = open_spec(f"HFDS/{tiny_data}@{tmp_path}", "train")
    val = open_spec(f"hfds/{tiny_data}@{tmp_path}", "val")
    assert (len(train), len(val)) == (24, 12)
    assert train.class_names == val.class_names == TINY_CLASSES
    assert val.where == f"hfds/{tiny_data}@{tmp_path} (validation)"
    for index in range(len(val)):
        path = Path(val.name(index))
        assert path.is_relative_to(tiny_data / "val")
        assert path.parent.name == TINY_CLASSES[val.labels[index]]
        assert val.read(index) == path.read_bytes()
    check_protocol(train)
    assert list(tmp_path.rglob("*.arrow"))


def _parquet(folder: Path, split: str, columns: dict[str, Any], features: dict[str, Any]) -> None:
    import datasets

    folder.mkdir(exist_ok=True)
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(folder / f"{split}.parquet")


def test_hfds_of_parquet_files_with_other_column_names(tmp_path: Path) -> None:
    import datasets

    data, files = tmp_path / "p@rquet", [png(value) for value in range(4)]
    features = {"img": datasets.Image(), "id": datasets.Value("int64"), "cls": datasets.ClassLabel(names=["b", "a"])}
    for split, labels in (("train", [0, 1, 1, 0]), ("test", [1, 1, 0, 1])):
        rows = {"img": [{"bytes": file, "path": None} for file in files], "id": [7, 8, 9, 10], "cls": labels}
        _parquet(data, split, rows, features)
    val = open_spec(f"hfds/{data}", "val")  # neither that @ is a separator nor is there another split for it
    assert val.where.endswith("(test)")
    assert val.class_names == ("b", "a")
    assert val.labels.tolist() == [1, 1, 0, 1]
    assert [val.read(index) for index in range(4)] == files
    assert val.name(3) == f"{val.where}[3]"
    check_protocol(val)


def test_hfds_labels_without_names_and_rows_without_image(tmp_path: Path) -> None:
    import datasets

    rows = {"image": [{"bytes": png(0), "path": None}, None], "label": [2, 0]}
    _parquet(tmp_path / "numbers", "train", rows, {"image": datasets.Image(), "label": datasets.Value("int16")})
    images = open_spec(f"hfds/{tmp_path / 'numbers'}", "train")
    assert images.class_names == ("0", "1", "2")
    assert images.read(0) == png(0)
    with pytest.raises(OSError, match="no image"):
        images.read(1)


def test_hfds_without_labels_or_split(tmp_path: Path) -> None:
    import datasets

    image = {"bytes": png(0), "path": None}
    unlabelled = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])}
    words = {"image": datasets.Image(), "label": datasets.Value("string")}
    _parquet(tmp_path / "hidden", "train", {"image": [image], "label": [-1]}, unlabelled)
    _parquet(tmp_path / "words", "train", {"image": [image], "label": ["a"]}, words)
    _parquet(
        tmp_path / "plain", "train", {"image": [image], "x": [0]}, {"image": datasets.Image(), "x": words["label"]}
    )
    assert "no class labels" in refused(f"hfds/{tmp_path / 'hidden'}").message
    assert "no class labels" in refused(f"hfds/{tmp_path / 'words'}").message
    missing = refused(f"hfds/{tmp_path / 'plain'}")
    assert "no column 'label'" in missing.message
    assert "It has: image, x." in missing.hint
    for split in ("val", "test"):
        no_split = refused(f"hfds/{tmp_path / 'words'}", split)
        assert f"no '{split}' split" in no_split.message
        assert no_split.hint == "It has: train."


def test_hfds_that_cannot_be_reached() -> None:
    error = refused("hfds/nobody/nothing")
    assert "'hfds/nobody/nothing' cannot be opened: Couldn't reach" in error.message
    assert "huggingface.co/datasets" in error.hint


def test_hfds_code_is_not_executed(tmp_path: Path) -> None:
    (tmp_path / "scripted").mkdir()
    (tmp_path / "scripted" / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "cannot be opened" in refused(f"hfds/{tmp_path / 'scripted'}").message
    assert not (tmp_path / "ran").exists()


# torchvision


def test_torch_image_folder(tiny_data: Path) -> None:
    val = open_spec(f"torch/image_folder@{tiny_data}", "val")
    assert (len(val), val.class_names) == (12, TINY_CLASSES)
    for index in range(len(val)):
        assert Path(val.name(index)).parent == tiny_data / "val" / TINY_CLASSES[val.labels[index]]
        assert np.array_equal(pixels_of(val.read(index)), pixels_of(Path(val.name(index)).read_bytes()))
    assert len(open_spec(f"Torch/Folder@{tiny_data}", "train")) == 24
    check_protocol(val)
    error = refused(f"torch/image_folder@{tiny_data}", "test")
    assert "no 'test' split" in error.message
    assert error.hint == "It has: train, val."


def _write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Files of CIFAR-10 with 2 images each and the checksums to match; returns the images (12, 32, 32, 3)."""
    from torchvision.datasets import CIFAR10

    below = folder / CIFAR10.base_folder
    below.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), np.uint8)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (below / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((below / name).read_bytes()).hexdigest()]

    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    lists = [
        write(name, {"data": images[2 * number : 2 * number + 2].reshape(2, -1), "labels": [number, 9]})
        for number, name in enumerate(names)
    ]
    meta = write("batches.meta", {"label_names": [f"class {number}" for number in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", lists[:5])
    monkeypatch.setattr(CIFAR10, "test_list", lists[5:])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return images.transpose(0, 2, 3, 1)


def test_torch_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = _write_cifar10(tmp_path, monkeypatch)
    train = open_spec(f"torch/CIFAR10@{tmp_path}", "train")
    assert train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert train.class_names[9] == "class 9"
    for split in ("val", "test"):
        held_out = open_spec(f"torch/cifar10@{tmp_path}", split)
        assert held_out.labels.tolist() == [5, 9]
        assert np.array_equal(pixels_of(held_out.read(1)), pixels[11])
        assert held_out.name(1) == f"torch/cifar10@{tmp_path} ({split})[1]"
    check_protocol(train)


def test_torch_downloads_to_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from platformdirs import user_cache_path
    from torchvision.datasets import CIFAR10

    def no_network(self: CIFAR10) -> None:
        asked.append(Path(self.root))
        raise OSError("no route to host\nand more")

    asked: list[Path] = []
    monkeypatch.setattr(CIFAR10, "download", no_network)
    error = refused("torch/cifar10")
    assert error.message == "'torch/cifar10' cannot be opened: no route to host."
    assert "network" in error.hint
    assert asked == [user_cache_path("fastvit") / "torch" / "cifar10"]
    empty = refused(f"torch/cifar10@{tmp_path}")
    assert "not found" in empty.message
    assert "without a folder" in empty.hint
    assert len(asked) == 1
    assert "There is no folder" in refused(f"torch/cifar10@{tmp_path / 'gone'}").message


def test_torch_names(tmp_path: Path) -> None:
    assert "Did you mean 'cifar10'?" in refused("torch/cifar01").hint
    assert refused("torch/imagenet").hint == "Say where it is: torch/imagenet@FOLDER"
    assert "cannot be opened" in refused(f"torch/places365@{tmp_path}", "test").message  # it has no such split


def test_torch_data_sets_that_keep_their_labels_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import timm.data

    def opened(**attributes: Any) -> Images:
        monkeypatch.setattr(timm.data, "create_dataset", lambda *_, **__: SimpleNamespace(**attributes))
        return open_spec(f"torch/imagenet@{tmp_path}", "train")

    inat = opened(all_categories=["00_a", "01_b"], index=[(1, "z"), (0, "y"), (1, "x")])
    assert (inat.class_names, inat.labels.tolist()) == (("00_a", "01_b"), [0, 1, 1])
    qmnist = opened(targets=np.array([[1, 50], [0, 60]]), classes=["0 - zero", "1 - one"])
    assert qmnist.labels.tolist() == [1, 0]
    imagenet = opened(targets=[0, 1], wnids=["n1", "n2"], classes=[("crane",), ("crane",)])
    assert imagenet.class_names == ("n1", "n2")
    assert opened(labels=[0, 2]).class_names == ("0", "1", "2")
    with pytest.raises(FastViTError, match="no class labels"):
        opened()
    with pytest.raises(FastViTError, match="holds no images"):
        opened(targets=[])
    with pytest.raises(FastViTError, match="label 2 and names for 1 classes"):
        opened(targets=[2], classes=["a"])


# WebDataset


class _FakeSource(list[dict[str, Any]]):
    dataset_info: SimpleNamespace


def _fake_tfds(monkeypatch: pytest.MonkeyPatch, features: dict[str, Any]) -> list[dict[str, Any]]:
    """Puts a module in place of tensorflow_datasets; returns the list of the calls it gets."""
    calls: list[dict[str, Any]] = []

    def data_source(name: str, **options: Any) -> dict[str, _FakeSource]:
        sys.stdout.write("Downloading and preparing")
        calls.append({"name": name, **options})
        if name == "nothing":
            raise ValueError("Dataset nothing not found.\nDid you mean something else?")
        rows = {"train": (1, 0, 1), "test": (0,)}
        sources = {}
        for split, labels in rows.items():
            sources[split] = _FakeSource({"image": png(label), "label": np.int64(label)} for label in labels)
            sources[split].dataset_info = SimpleNamespace(features=features)
        return sources

    module: Any = ModuleType("tensorflow_datasets")
    module.data_source = data_source
    module.decode = SimpleNamespace(SkipDecoding=lambda: "skipped")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return calls


@pytest.fixture(autouse=True)
def _no_sources_of_other_tests() -> None:
    from fastvit_cli.data.timm_images import tfds_sources

    tfds_sources.cache_clear()


def test_tfds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    features = {"image": None, "label": SimpleNamespace(names=["cat", "dog"])}
    calls = _fake_tfds(monkeypatch, features)
    train = open_spec(f"tfds/pets/big:1.0.0@{tmp_path}", "train")
    assert capsys.readouterr().out == ""
    assert calls == [{"name": "pets/big:1.0.0", "data_dir": str(tmp_path), "decoders": {"image": "skipped"}}]
    assert (train.class_names, train.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    assert [train.read(index) for index in (2, 1)] == [png(1), png(0)]
    check_protocol(train)
    assert len(calls) == 1
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a worker
    assert train.read(0) == png(1)
    assert len(calls) == 2
    val = open_spec("tfds/pets", "val")
    assert val.where == "tfds/pets (test)"
    assert calls[-1]["data_dir"] is None


def test_tfds_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_tfds(monkeypatch, {"image": None, "objects": None})
    assert refused("tfds/nothing").message == "'tfds/nothing' cannot be opened: Dataset nothing not found."
    no_label = refused("tfds/coco")
    assert "no feature 'label'" in no_label.message
    assert "It has: image, objects." in no_label.hint
