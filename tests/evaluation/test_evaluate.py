"""The evaluation loop as one of several processes; tests/training/test_several_processes.py runs two real ones."""

import shutil
from collections.abc import ItemsView, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluation_models import Colours
from helpers.loaded import CLASS_NAMES

from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.data.sources import DataChoice, open_images
from fastvit_cli.data.transforms import evaluation_transform
from fastvit_cli.distributed import World
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.evaluate import evaluate

THEIRS = Unreadable("another.jpg", "it is truncated")


@dataclass(frozen=True)
class WithOther(World):
    """The first of two processes, whose other one has seen one unreadable image, a deep one, and nothing else."""

    size: int = 2

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def all_gather(self, items: Iterable[Any]) -> list[Any]:
        return [*items, ("16-bit PNG", 1) if isinstance(items, ItemsView) else THEIRS]


def _loader(data: DataChoice, colours: Colours, **options: Any) -> ImageLoader:
    transform = evaluation_transform(colours.info.preprocessing.at_size(32))
    return ImageLoader(open_images(data, "val"), transform, LoaderOptions(32, 8, 0, **options), WithOther())


def test_what_another_process_could_not_read_is_named_once(five_classes: DataChoice, colours: Colours) -> None:
    loader, named = _loader(five_classes, colours, max_bad_images=10), []
    for _ in range(2):
        found = evaluate(colours, loader, on_unreadable=named.append, world=WithOther())
        assert found.unreadable == (THEIRS,)
        assert found.deep == {"16-bit PNG": 1}
    assert named == [THEIRS]


def test_the_limit_is_that_of_all_processes_together(
    five_classes: DataChoice, colours: Colours, tmp_path: Path
) -> None:
    data = replace(five_classes, root=shutil.copytree(str(five_classes.root), tmp_path / "data"))
    (tmp_path / "data" / "val" / CLASS_NAMES[0] / "0.jpg").write_bytes(b"no image")
    loader = _loader(data, colours, max_bad_images=5)
    assert len(evaluate(colours, loader).unreadable) == 1
    with pytest.raises(FastViTError, match="2 of 30 images cannot be read, more than 5 %"):
        evaluate(colours, loader, world=WithOther())
