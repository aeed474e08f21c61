from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from fastvit_cli.data.loader import Batch, ImageLoader, load_some_images, resolve_workers
from fastvit_cli.data.sources import open_split
from fastvit_cli.data.transforms import Augmentation, evaluation_transform, read_image, training_transform
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import normalize

SMALL = Preprocessing(img_size=32)


def _training_batches(data: Path, workers: int, epoch: int, seed: int = 0) -> list[Batch]:
    loader = ImageLoader(
        open_split(data, "train"), training_transform(SMALL, Augmentation()), 8, workers, training=True, seed=seed
    )
    return list(loader.epoch(epoch))


def test_batches_do_not_depend_on_the_number_of_workers(tiny_data: Path) -> None:
    alone = _training_batches(tiny_data, workers=0, epoch=1)
    helped = _training_batches(tiny_data, workers=2, epoch=1)
    assert len(alone) == len(helped) == 3
    for mine, theirs in zip(alone, helped, strict=True):
        assert torch.equal(mine.images, theirs.images)
        assert torch.equal(mine.labels, theirs.labels)


def test_epochs_and_seeds_differ(tiny_data: Path) -> None:
    first, second = (_training_batches(tiny_data, 0, epoch)[0].images for epoch in (0, 1))
    other_seed = _training_batches(tiny_data, 0, 0, seed=1)[0].images
    assert not torch.equal(first, second)
    assert not torch.equal(first, other_seed)


def test_a_worker_that_lives_on_learns_the_epoch(tiny_data: Path) -> None:
    loader = ImageLoader(
        open_split(tiny_data, "train"), training_transform(SMALL, Augmentation()), 8, workers=1, training=True
    )
    list(loader.epoch(0))
    second = next(loader.epoch(1)).images
    assert torch.equal(second, _training_batches(tiny_data, 0, 1)[0].images)


def test_loading_leaves_the_random_states_alone(tiny_data: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    _training_batches(tiny_data, 0, 0)
    assert torch.equal(torch.rand(4), expected)


def test_training_sees_every_image_once_an_epoch(tiny_data: Path) -> None:
    labels = torch.cat([batch.labels for batch in _training_batches(tiny_data, 0, 0)])
    assert labels.bincount().tolist() == [8, 8, 8]
    assert labels.tolist() != sorted(labels.tolist())


def test_evaluation_keeps_the_order_and_the_last_incomplete_batch(tiny_data: Path) -> None:
    loader = ImageLoader(open_split(tiny_data, "val"), evaluation_transform(SMALL), 5, workers=0, training=False)
    batches = list(loader.epoch())
    assert [len(batch.labels) for batch in batches] == [5, 5, 2]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_batches_are_contiguous_uint8(tiny_data: Path) -> None:
    """Channels-last strides would reach the network, whose backward crashes on AVX-512 CPUs then."""
    for batch in _training_batches(tiny_data, 1, 0):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (8, 3, 32, 32)
        assert batch.images.is_contiguous()
        assert normalize(batch.images, _info()).is_contiguous()


def _info() -> object:
    class Info:
        preprocessing = SMALL

    return Info()


def test_pixels_are_those_of_timm(tiny_data: Path) -> None:
    """Ours, normalised on the device, against timm's own evaluation transform with its normalisation."""
    preprocessing = Preprocessing(img_size=64, crop_pct=0.8)
    path = open_split(tiny_data, "val").paths[0]
    theirs = create_transform(64, interpolation="bicubic", crop_pct=0.8)(Image.open(path).convert("RGB"))

    class Info:
        pass

    Info.preprocessing = preprocessing  # type: ignore[attr-defined]
    raw = torch.from_numpy(np.ascontiguousarray(evaluation_transform(preprocessing)(read_image(path))))
    assert torch.allclose(normalize(raw[None], Info())[0], theirs, atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_kind_of_image_becomes_rgb(mode: str, tmp_path: Path) -> None:
    suffix = "tif" if mode in ("CMYK", "I;16") else "png"
    path = tmp_path / f"image.{suffix}"
    Image.effect_noise((40, 30), 60).convert("L" if mode == "I;16" else mode).save(path)
    image = read_image(str(path))
    assert (image.mode, image.size) == ("RGB", (40, 30))
    assert evaluation_transform(SMALL)(image).shape == (3, 32, 32)


def test_an_unreadable_image_is_named(tiny_data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "val" / "cross" / "broken.jpg"
    broken.parent.mkdir(parents=True)
    broken.write_bytes((tiny_data / "val" / "cross" / "00.jpg").read_bytes()[:200])
    for workers in (0, 1):
        loader = ImageLoader(open_split(tmp_path, "val"), evaluation_transform(SMALL), 2, workers, training=False)
        with pytest.raises(FastViTError) as caught:
            list(loader.epoch())
        assert str(broken) in caught.value.message


def test_some_images_are_spread_over_the_classes(tiny_data: Path) -> None:
    folder = open_split(tiny_data, "val")
    assert load_some_images(folder, SMALL, 3).shape == (3, 3, 32, 32)
    assert load_some_images(folder, SMALL, 100).shape[0] == 12


def test_workers_default_to_the_cores_that_are_free() -> None:
    assert resolve_workers(0) == 0
    assert resolve_workers(5) == 5
    assert 1 <= resolve_workers(None) <= 8
