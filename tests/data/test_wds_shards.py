import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.timm_specs import check_protocol, pixels_of, png, refused
from helpers.tiny_data import TINY_CLASSES, draw_tiny_data

from fastvit_cli.data.timm_specs import open_spec
from fastvit_cli.errors import FastViTError

pytestmark = pytest.mark.quick


def _write_shard(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _sample(key: str, label: int, suffix: str = "png", **more: bytes) -> list[tuple[str, bytes]]:
    files = {suffix: png(label), "cls": str(label).encode(), **more}
    return [(f"{key}.{name}", content) for name, content in files.items()]


def _write_info(folder: Path, **splits: dict[str, Any]) -> None:
    for name, split in splits.items():
        split.update(name=name, num_samples=sum(split["shard_lengths"]))
    (folder / "_info.json").write_text(json.dumps({"splits": splits}))


def test_wds_with_info(tmp_path: Path) -> None:
    first = [*_sample("a/0", 3), *_sample("a/1", 0, "JPG"), ("__meta__/x.txt", b"skipped")]
    _write_shard(tmp_path / "s-0.tar", first)
    _write_shard(tmp_path / "s-1.tar", _sample("b/0", 1, "webp", json=b"{}", png=b"not the first choice of none"))
    _write_shard(tmp_path / "t-0.tar", _sample("c", 2))
    _write_info(
        tmp_path,
        train={"filenames": ["s-1.tar", "s-0.tar"], "shard_lengths": [1, 2]},
        validation={"filenames": ["t-0.tar"], "shard_lengths": [1]},
    )
    train = open_spec(f"wds/{tmp_path}", "train")
    assert train.labels.tolist() == [1, 3, 0]
    assert train.class_names == ("0", "1", "2", "3")
    assert [train.read(index) for index in (2, 1, 0)] == [png(0), png(3), b"not the first choice of none"]
    assert train.name(2) == f"{tmp_path}/s-0.tar:a/1.JPG"
    check_protocol(open_spec(f"WDS/{tmp_path}", "val"))
    no_test = refused(f"wds/{tmp_path}", "test")
    assert "no 'test' split" in no_test.message
    assert no_test.hint == "It has: train, validation."


def test_wds_gives_what_timm_streams(tmp_path: Path) -> None:
    from timm.data.readers import create_reader

    for shard in range(2):
        samples = [file for number in range(3) for file in _sample(f"{shard}{number}", 3 * shard + number)]
        _write_shard(tmp_path / f"{shard}.tar", samples)
    _write_info(tmp_path, train={"filenames": ["0.tar", "1.tar"], "shard_lengths": [3, 3]})
    images = open_spec(f"wds/{tmp_path}", "train")
    streamed = list(create_reader("wds/", root=str(tmp_path), split="train"))
    assert images.labels.tolist() == [label for _, label in streamed]
    for index, (image, _) in enumerate(streamed):
        assert np.array_equal(pixels_of(images.read(index)), pixels_of(image))


def test_wds_by_name_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write_shard(tmp_path / "d" / "pets-train-01.tar", _sample("b", 1))
    _write_shard(tmp_path / "d" / "pets-train-00.tar", _sample("a", 0))
    _write_shard(tmp_path / "d" / "constraints.tar", _sample("x", 7))
    _write_shard(tmp_path / "d" / "val" / "0.tar", _sample("c", 1))
    assert open_spec("wds/d", "train").labels.tolist() == [0, 1]
    val = open_spec("wds/d", "val")
    monkeypatch.chdir("/")
    assert val.read(0) == png(1)
    assert refused(f"wds/{tmp_path / 'd'}", "test").hint == "It has: train, val."


def test_wds_label_in_json(tmp_path: Path) -> None:
    samples = [
        (f"{n}.{s}", c) for n, k in enumerate((2, -1, 0)) for s, c in (("png", png(n)), ("json", b'{"k": %d}' % k))
    ]
    _write_shard(tmp_path / "0.tar", samples)
    _write_info(tmp_path, train={"filenames": ["0.tar"], "shard_lengths": [2], "alt_label": "k"})
    images = open_spec(f"wds/{tmp_path}", "train")
    assert images.labels.tolist() == [2, 0]
    assert [images.read(0), images.read(1)] == [png(0), png(2)]
    _write_info(tmp_path, train={"filenames": ["0.tar"], "shard_lengths": [2], "alt_label": "other"})
    assert "has no class that is a number" in refused(f"wds/{tmp_path}").message


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.cls", b"0")], "The sample 'a' of .* has no image"),
        ([("a.png", b"x")], "The sample 'a' of .* has no .cls file"),
        ([("a.png", b"x"), ("a.cls", b"cat")], "The sample 'a' of .* has no class that is a number"),
        ([], "holds no images"),
    ],
)
def test_wds_samples_that_are_incomplete(members: list[tuple[str, bytes]], message: str, tmp_path: Path) -> None:
    _write_shard(tmp_path / "train.tar", members)
    refused(f"wds/{tmp_path}")
    with pytest.raises(FastViTError, match=message):
        open_spec(f"wds/{tmp_path}", "train")


def test_wds_shards_that_are_damaged(tmp_path: Path) -> None:
    shard = _write_shard(tmp_path / "train.tar", _sample("a", 0), mode="w:gz")
    assert "cannot be read as a tar file" in refused(f"wds/{tmp_path}").message
    _write_shard(shard, _sample("a", 0))
    _write_info(tmp_path, train={"filenames": ["train.tar"], "shard_lengths": [2]})
    assert "holds 1 samples and not 2" in refused(f"wds/{tmp_path}").message
    _write_info(tmp_path, train={"filenames": ["train.tar"], "shard_lengths": []})
    assert len(open_spec(f"wds/{tmp_path}", "train")) == 1
    _write_info(tmp_path, train={"filenames": ["gone.tar"], "shard_lengths": [1]})
    assert "gone.tar' cannot be read" in refused(f"wds/{tmp_path}").message
    (tmp_path / "_info.json").write_text('{"splits": {"train": {}}}')
    assert "KeyError" in refused(f"wds/{tmp_path}").message
    (tmp_path / "_info.json").write_text("{")
    assert "_info.json' cannot be read" in refused(f"wds/{tmp_path}").message
    assert "There is no folder" in refused(f"wds/{tmp_path / 'gone'}").message
    (tmp_path / "_info.json").unlink()
    images = open_spec(f"wds/{tmp_path}", "train")
    os.truncate(shard, 520)
    with pytest.raises(OSError, match="ends early"):
        images.read(0)


# TensorFlow Datasets


def test_a_shard_data_set_and_its_folder_agree(tmp_path: Path) -> None:
    """The same images through three kinds have the same classes and pixels."""
    small = draw_tiny_data(tmp_path / "small", train=2, val=1)
    files = sorted((small / "train").rglob("*.jpg"))
    members = [
        (f"{number:04d}.{suffix}", content)
        for number, file in enumerate(files)
        for suffix, content in (
            ("jpg", file.read_bytes()),
            ("cls", str(TINY_CLASSES.index(file.parent.name)).encode()),
        )
    ]
    _write_shard(tmp_path / "shards" / "train.tar", members)
    kinds = [f"hfds/{small}@{tmp_path / 'cache'}", f"torch/folder@{small}", f"wds/{tmp_path / 'shards'}"]
    hub, torch, shards = (open_spec(data, "train") for data in kinds)
    assert hub.labels.tolist() == torch.labels.tolist() == shards.labels.tolist()
    for index in range(len(files)):
        assert hub.read(index) == shards.read(index) == files[index].read_bytes()
        assert np.array_equal(pixels_of(hub.read(index)), pixels_of(torch.read(index)))
