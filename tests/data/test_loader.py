"""Batches: the same whatever reads them, from wherever they start, with faults named, counted and survived."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.jpegs import encode
from PIL import Image

from fastvit_cli.data import loader as loader_module
from fastvit_cli.data import workers as workers_module
from fastvit_cli.data.loader import (
    Batch,
    EpochBatches,
    ImageLoader,
    LoaderOptions,
    load_some_images,
)
from fastvit_cli.data.sources import open_split
from fastvit_cli.data.transforms import Augmentation, evaluation_transform, training_transform
from fastvit_cli.data.workers import resolve_workers, worker_death_explained
from fastvit_cli.distributed import ALONE
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import normalize

pytestmark = pytest.mark.quick

SMALL = Preprocessing(img_size=32)


def _training_loader(data: Path, workers: int = 0, **options: object) -> ImageLoader:
    images = open_split(data, "train")
    return ImageLoader(
        images, training_transform(SMALL, Augmentation()), LoaderOptions(32, 8, workers, True, **options)
    )  # type: ignore[arg-type]


def _validation_loader(data: Path, batch_size: int, workers: int = 0, **options: object) -> ImageLoader:
    images = open_split(data, "val")
    return ImageLoader(images, evaluation_transform(SMALL), LoaderOptions(32, batch_size, workers, **options))  # type: ignore[arg-type]


def _assert_same(mine: list[Batch], theirs: list[Batch]) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize(("workers", "start_method"), [(2, "fork"), (5, "fork"), (2, "spawn"), (1, "forkserver")])
def test_batches_do_not_depend_on_who_reads_them(tiny_data: Path, workers: int, start_method: str) -> None:
    alone = list(_training_loader(tiny_data).epoch(1))
    helped = list(_training_loader(tiny_data, workers, start_method=start_method).epoch(1))
    assert len(alone) == 3
    _assert_same(alone, helped)


def test_images_and_labels_are_pinned(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the host would wait for the copy of the one or the other."""
    pinned: list[torch.Tensor] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    batches = list(_training_loader(tiny_data, pin=True).epoch())
    assert [tensor.dtype for tensor in pinned] == [torch.uint8, torch.int64] * len(batches)


def test_an_epoch_can_start_in_its_middle(tiny_data: Path) -> None:
    whole = list(_training_loader(tiny_data).epoch(2))
    for workers in (0, 2):
        _assert_same(whole[1:], list(_training_loader(tiny_data, workers).epoch(2, first_batch=1)))
    assert list(_training_loader(tiny_data).epoch(2, first_batch=3)) == []


def test_epochs_and_seeds_differ(tiny_data: Path) -> None:
    first, second = (next(_training_loader(tiny_data).epoch(epoch)).images for epoch in (0, 1))
    other_seed = next(_training_loader(tiny_data, seed=1).epoch(0)).images
    assert not torch.equal(first, second)
    assert not torch.equal(first, other_seed)


def test_a_worker_that_lives_on_learns_the_epoch(tiny_data: Path) -> None:
    loader = _training_loader(tiny_data, workers=1)
    list(loader.epoch(0))
    _assert_same(list(loader.epoch(1)), list(_training_loader(tiny_data).epoch(1)))


def test_loading_leaves_the_random_states_alone(tiny_data: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(4), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    list(_training_loader(tiny_data).epoch())
    assert torch.equal(torch.rand(4), expected[0])
    assert np.random.rand() == expected[1]


def test_training_sees_every_image_once_an_epoch(tiny_data: Path) -> None:
    labels = torch.cat([batch.labels for batch in _training_loader(tiny_data).epoch()])
    assert labels.bincount().tolist() == [8, 8, 8]
    assert labels.tolist() != sorted(labels.tolist())


def test_evaluation_keeps_the_order_and_the_last_incomplete_batch(tiny_data: Path) -> None:
    batches = list(_validation_loader(tiny_data, 5).epoch())
    assert [len(batch.labels) for batch in batches] == [5, 5, 2]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(("size", "batch_size", "world_size"), [(12, 5, 2), (13, 4, 3), (2, 8, 4), (7, 1, 5)])
def test_evaluation_by_several_processes_counts_each_image_once(size: int, batch_size: int, world_size: int) -> None:
    parts = [
        EpochBatches(size, batch_size, training=False, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    seen = [sample for part in parts for batch in part for sample in batch.samples]
    assert sorted(seen) == list(range(size))
    assert [len(list(part)) for part in parts] == [len(part) for part in parts]


def test_training_by_several_processes_divides_the_same_batches() -> None:
    alone = [batch.samples for batch in EpochBatches(50, 6, training=True, seed=4)]
    parts = [EpochBatches(50, 3, training=True, seed=4, rank=rank, world_size=2) for rank in (0, 1)]
    assert [one.samples + other.samples for one, other in zip(*parts, strict=True)] == alone
    assert len(alone) == 8


def test_batches_are_uint8_and_normalise_to_contiguous_floats(tiny_data: Path) -> None:
    """Channels-last strides would reach the network, whose backward crashes on AVX-512 CPUs then."""
    for batch in _training_loader(tiny_data, 1).epoch():
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (8, 3, 32, 32)
        assert normalize(batch.images, _info()).is_contiguous()  # type: ignore[arg-type]


def _info() -> object:
    class Info:
        preprocessing = SMALL

    return Info()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.fixture
def damaged(tiny_data: Path, tmp_path: Path) -> Path:
    """The tiny data with one damaged image in each split."""
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    _truncate(data / "train" / "circle" / "03.jpg")
    _truncate(data / "val" / "cross" / "01.jpg")
    return data


@pytest.mark.parametrize("workers", [0, 2])
def test_training_replaces_an_unreadable_image(damaged: Path, tiny_data: Path, workers: int) -> None:
    loader = _training_loader(damaged, workers, max_bad_images=10)
    first, second = list(loader.epoch(0)), list(loader.epoch(1))
    named = [bad for batch in first for bad in batch.unreadable]
    assert [Path(bad.name).name for bad in named] == ["03.jpg"]
    assert "truncated" in named[0].reason.lower()
    assert not any(batch.unreadable for batch in second), "it is named once"
    assert len(loader.unreadable) == 1
    assert [len(batch.labels) for batch in first] == [8, 8, 8]
    _assert_same(first, list(_training_loader(damaged, max_bad_images=10).epoch(0)))
    # Only that one sample is another than it would have been.
    whole = list(_training_loader(tiny_data).epoch(0))
    differ = [
        not torch.equal(a, b)
        for x, y in zip(first, whole, strict=True)
        for a, b in zip(x.images, y.images, strict=True)
    ]
    assert sum(differ) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_leaves_an_unreadable_image_out(damaged: Path, workers: int) -> None:
    loader = _validation_loader(damaged, 4, workers, max_bad_images=10)
    batches = list(loader.epoch())
    assert [batch.labels.tolist() for batch in batches] == [[0] * 4, [1] * 3, [2] * 4]
    assert len(batches[1].images) == 3
    assert len(loader.unreadable) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_deep_images_are_counted_in_each_epoch(tiny_data: Path, tmp_path: Path, workers: int) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    for number in range(3):
        path = data / "train" / "star" / f"0{number}.jpg"
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        path.write_bytes(encode(Image.fromarray(grey * 257), "PNG" if number else "TIFF"))  # whatever the name
    loader = _training_loader(data, workers)
    assert not loader.deep
    for epoch in range(2):
        assert len(list(loader.epoch(epoch))) == 3
        assert loader.all_deep(ALONE) == {"16-bit PNG": 2, "16-bit TIFF": 1}


def test_too_many_unreadable_images_are_an_error(damaged: Path) -> None:
    for workers in (0, 1):
        with pytest.raises(FastViTError) as caught:
            list(_training_loader(damaged, workers).epoch())
        assert "1 of 24 images cannot be read, more than 1 %" in caught.value.message
        assert "03.jpg" in caught.value.message
        assert "--check-data" in caught.value.hint


def test_a_batch_without_one_readable_image_is_passed_over(damaged: Path) -> None:
    batches = list(_validation_loader(damaged, 1, max_bad_images=100).epoch())
    assert sum(len(batch.labels) for batch in batches) == 11
    assert [bad for batch in batches for bad in batch.unreadable]


def test_batches_stay_whole_where_damaged_files_lie_side_by_side(tiny_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    for path in (data / "train" / "circle").iterdir():
        _truncate(path)
    batches = list(_training_loader(data, max_bad_images=100).epoch())
    assert [len(batch.labels) for batch in batches] == [8, 8, 8]
    assert torch.cat([batch.labels for batch in batches]).bincount(minlength=3)[0] == 0


def test_a_disk_that_went_away_is_an_error(tiny_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    loader = _training_loader(data, max_bad_images=100)
    shutil.rmtree(data)
    with pytest.raises(FastViTError, match="nor can any of those tried in its place"):
        list(loader.epoch())


def _fail(_: object) -> object:
    raise RuntimeError("a mistake in a transform")


def test_a_mistake_in_a_worker_is_not_taken_for_its_death(tiny_data: Path) -> None:
    loader = ImageLoader(open_split(tiny_data, "val"), _fail, LoaderOptions(32, 4, workers=1))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="a mistake in a transform"), worker_death_explained(1):
        list(loader.epoch())


def _kill_a_worker(loader: ImageLoader) -> Iterator[Batch]:
    for batch in loader.epoch():
        yield batch
        worker = loader._loader._iterator._workers[0]  # type: ignore[union-attr]
        os.kill(worker.pid, signal.SIGKILL)


# torch raises from a signal handler, now and then inside a callback that swallows it before the next try.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_worker_is_an_error_that_names_memory(tiny_data: Path) -> None:
    loader = _validation_loader(tiny_data, 1, workers=2)
    with pytest.raises(WorkFailedError) as caught, worker_death_explained(2):
        list(_kill_a_worker(loader))
    assert "memory" in caught.value.message
    assert "--workers below 2" in caught.value.hint


def test_the_wait_for_batches_is_measured(tiny_data: Path) -> None:
    loader = _training_loader(tiny_data)
    list(loader.epoch())
    assert loader.seconds_waited > 0


def test_an_epoch_may_be_left_in_its_middle(tiny_data: Path) -> None:
    """What its workers were still at does not leak into the next."""
    loader = _training_loader(tiny_data, workers=2)
    next(loader.epoch(0))
    _assert_same(list(loader.epoch(1)), list(_training_loader(tiny_data).epoch(1)))


def test_some_images_are_spread_over_the_classes(tiny_data: Path, damaged: Path) -> None:
    images = open_split(tiny_data, "val")
    some = load_some_images(images, SMALL, 3)
    assert some.pixels.shape == (3, 3, 32, 32)
    assert some.labels is not None
    assert some.labels.tolist() == images.labels[[0, 6, 11]].tolist()  # the first, the middle, the last
    assert len(load_some_images(images, SMALL, 100).pixels) == 12
    with pytest.raises(FastViTError, match=r"01\.jpg"):
        load_some_images(open_split(damaged, "val"), SMALL, 100)


def test_workers_default_to_the_cores_that_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_workers(0) == 0
    assert resolve_workers(5) == 5
    assert 1 <= resolve_workers(None) <= 8
    monkeypatch.setattr(workers_module, "usable_cores", lambda: 64)
    monkeypatch.setattr(workers_module, "most_workers", lambda _: (256, "64 cores"))
    assert (resolve_workers(None), resolve_workers(None, beside_gpu=True)) == (8, 16)
    assert resolve_workers(None, processes=8, beside_gpu=True) == 7


@pytest.mark.parametrize(
    ("machine", "most", "why"),
    [
        ({"usable_cores": 1}, 8, "1 core"),
        ({"usable_cores": 32}, 128, "32 cores"),
        ({"free_memory_mb": 1100.0}, 4, "1.1 GB of free memory"),
        ({"open_files_left": 50}, 4, r"its limit of open files \(ulimit -n\)"),
        ({"open_files_left": 3}, 0, "its limit of open files"),
    ],
)
def test_more_workers_than_the_machine_takes_are_refused(
    machine: dict[str, float], most: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand of them ended it."""
    for name, value in {"usable_cores": 64, "free_memory_mb": 1e6, "open_files_left": None, **machine}.items():
        monkeypatch.setattr(workers_module, name, lambda *_, value=value: value)
    assert resolve_workers(most) == most
    with pytest.raises(FastViTError, match=f"at most {most}, for {why}") as caught:
        resolve_workers(100_000)
    assert f"Pass --workers {most}" in caught.value.hint
    assert resolve_workers(None) <= most
    if "usable_cores" in machine:
        with pytest.raises(FastViTError, match="at most 8,"):
            resolve_workers(100, processes=16)


def _heeds_signals() -> None:
    workers_module.prepare_worker(0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_worker_outlives_what_is_meant_for_the_main_process() -> None:
    """Ctrl-C, a scheduler and a terminal that closes reach it as they reach the main process, which decides."""
    process = multiprocessing.get_context("fork").Process(target=_heeds_signals)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_buffers_larger_than_the_free_memory_are_refused(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "free_memory_mb", lambda _: 0.05)
    with pytest.raises(WorkFailedError, match="not enough shared memory for 2 worker processes"):
        _validation_loader(tiny_data, 12, workers=2)


def test_a_program_ends_whose_loader_lives_to_its_end(tiny_data: Path) -> None:
    """Workers outlive one SIGTERM, which Python's own end sends them, by two minutes."""
    code = (
        "import sys; from pathlib import Path; from fastvit_cli.data.loader import *\n"
        "from fastvit_cli.data.sources import open_split\n"
        "images = open_split(Path(sys.argv[1]), 'val')\n"
        "transform = evaluation_transform(Preprocessing(img_size=32))\n"
        "loader = ImageLoader(images, transform, LoaderOptions(32, 8, 1))\n"
        "print(sum(len(batch.labels) for batch in loader.epoch()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_data], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == 12
