"""A part of a JPEG has the pixels of the whole, or is not given at all."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.jpegs import JPEGS, encode
from helpers.photo import photo, photo_file

from fastvit_cli.data import turbojpeg
from fastvit_cli.data.decoding import Box, decode
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.sources import open_split
from fastvit_cli.data.transforms import Augmentation, evaluation_transform, training_transform
from fastvit_cli.models.preprocessing import Preprocessing

HAS_WHEEL = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)


@pytest.fixture(autouse=True)
def _fresh_search() -> Iterator[None]:
    yield
    turbojpeg._library.cache_clear()


@pytest.fixture
def _with_library() -> None:
    if not turbojpeg.available():
        assert not HAS_WHEEL, "the extra `turbojpeg` is among those of `dev`"
        pytest.skip("libjpeg-turbo 3 is not installed, and there is no wheel of it for this machine")


def _without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turbojpeg, "_places", lambda: iter(()))
    turbojpeg._library.cache_clear()


def _boxes(height: int, width: int, count: int = 40) -> Iterator[Box]:
    draw = np.random.default_rng(0)
    yield Box(0, 0, height, width)
    yield Box(height - 1, width - 1, 1, 1)
    for _ in range(count):
        rows, columns = draw.integers(1, height + 1), draw.integers(1, width + 1)
        top, left = draw.integers(height - rows + 1), draw.integers(width - columns + 1)
        yield Box(int(top), int(left), int(rows), int(columns))


@pytest.mark.usefixtures("_with_library")
@pytest.mark.parametrize("kind", [*JPEGS, "grey"])
def test_the_pixels_of_the_whole(kind: str) -> None:
    image = photo().resize((167, 145))
    data = encode(image.convert("L")) if kind == "grey" else encode(image, **JPEGS[kind])
    whole = decode(data)
    for box in _boxes(*whole.shape[:2]):
        part = turbojpeg.decode_part(data, box)
        assert part is not None
        assert part.flags.c_contiguous
        inside = slice(box.top, box.bottom), slice(box.left, box.right)
        assert np.array_equal(part[inside], whole[inside]), box


@pytest.mark.usefixtures("_with_library")
def test_what_it_refuses_to_guess() -> None:
    data, box = photo_file().read_bytes(), Box(10, 10, 40, 40)
    assert turbojpeg.decode_part(data, box) is not None
    middle = len(data) // 8
    damaged = data[:middle] + b"\xff" * 64 + data[middle + 64 :]
    for other in (
        data[: len(data) // 2],
        data + b"more",
        damaged,
        b"\xff\xd8\xff\xd9",
        encode(photo().convert("CMYK")),
    ):
        assert turbojpeg.decode_part(other, Box(300, 10, 200, 40)) is None


@pytest.mark.usefixtures("_with_library")
def test_a_box_beside_the_image_is_no_crash() -> None:
    assert turbojpeg.decode_part(encode(photo().resize((40, 30))), Box(100, 100, 5, 5)) is None


def test_without_the_library_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_library(monkeypatch)
    assert not turbojpeg.available()
    assert turbojpeg.decode_part(photo_file().read_bytes(), Box(0, 0, 9, 9)) is None


def test_an_older_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2 lacks the functions, as the C library does."""
    monkeypatch.setattr(turbojpeg, "_places", lambda: iter((None, "no such library")))  # None: what is loaded already
    turbojpeg._library.cache_clear()
    assert not turbojpeg.available()


@pytest.mark.usefixtures("_with_library")
@pytest.mark.parametrize("size", [(500, 375), (300, 420), (96, 96), (400, 31), (257, 284)])
def test_batches_do_not_depend_on_the_library(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        for number in range(4):
            path = tmp_path / split / "x" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            width, height = size
            path.write_bytes(encode(photo().resize((width + number, height))))
    preprocessing = Preprocessing(img_size=64)

    def batches() -> list[torch.Tensor]:
        training, evaluation = training_transform(preprocessing, Augmentation()), evaluation_transform(preprocessing)
        train = ImageLoader(open_split(tmp_path, "train"), training, LoaderOptions(64, 4, 0, training=True))
        val = ImageLoader(open_split(tmp_path, "val"), evaluation, LoaderOptions(64, 4, 0))
        return [batch.images for epoch in range(5) for batch in train.epoch(epoch)] + [
            batch.images for batch in val.epoch()
        ]

    parts: list[object] = []
    decode_part = turbojpeg.decode_part
    monkeypatch.setattr(turbojpeg, "decode_part", lambda *given: parts.append(decode_part(*given)) or parts[-1])
    with_it = batches()
    assert len(parts) >= 20, "a training crop is nearly always a part, and a centre crop is one unless it is all"
    assert all(part is not None for part in parts)
    _without_library(monkeypatch)
    for one, other in zip(with_it, batches(), strict=True):
        assert torch.equal(one, other)
