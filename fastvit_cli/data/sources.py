"""Which data set is meant, by `--data`, the checkpoint or the environment, and the images of its splits."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastvit_cli.data.class_folders import FOLDER_HINT, Progress
from fastvit_cli.data.class_map import apply, read_class_map, some
from fastvit_cli.data.demo import ensure_demo_dataset
from fastvit_cli.data.folder_index import open_indexed
from fastvit_cli.data.images import ImageFolder, Images
from fastvit_cli.data.timm_specs import absolute_spec, is_spec, needs_folder, open_spec
from fastvit_cli.errors import FastViTError, closest

DEMO = "demo"
ENVIRONMENT_VARIABLE = "FASTVIT_DATA"
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class DataChoice:
    """The data set a command works on.

    Attributes:
        name: what `--data` would be to get it again.
        root: folder with the splits; None for a data set that timm reads.
        reason: why this one, for the user to read.
    """

    name: str
    root: Path | None
    reason: str


def choose_data(
    data: str | None,
    from_checkpoint: str | None = None,
    on_demo_progress: Callable[[int, int], None] | None = None,
) -> DataChoice:
    """Decide which data set is meant, and draw the demo when it is that and not there yet.

    Raises:
        FastViTError: the folder is not there.
    """
    environment = os.environ.get(ENVIRONMENT_VARIABLE)
    if data is not None:
        name, reason = data, "--data"
    elif from_checkpoint is not None:
        name, reason = from_checkpoint, "what the checkpoint was trained on"
    elif environment:
        name, reason = environment, ENVIRONMENT_VARIABLE
    else:
        name, reason = DEMO, "the built-in demo; pass --data FOLDER for your own images"
    if name == DEMO:
        return DataChoice(DEMO, ensure_demo_dataset(on_progress=on_demo_progress), reason)
    if is_spec(name):
        return DataChoice(absolute_name(name), None, reason)
    root = Path(name).expanduser()
    if not root.is_dir():
        raise FastViTError(f"There is no data folder '{name}' ({reason}).", f"{_near(root)}{FOLDER_HINT}")
    return DataChoice(absolute_name(name), root.resolve(), reason)


def absolute_name(data: str) -> str:
    """What `--data` would be to get the same data set from any working directory.

    Raises:
        FastViTError: an incomplete name of a data set of timm's.
    """
    if data == DEMO:
        return data
    return absolute_spec(data) if is_spec(data) else str(Path(data).expanduser().resolve())


def is_found_anywhere(data: str) -> bool:
    """Whether the name means the same on every machine: the demo, or a data set that timm downloads."""
    return data == DEMO or (is_spec(data) and not needs_folder(data))


def is_named(data: str | None, from_checkpoint: str | None) -> bool:
    """Whether `choose_data` has more to go by than that nothing was said, which leaves the demo."""
    return bool(data or from_checkpoint or os.environ.get(ENVIRONMENT_VARIABLE))


def _near(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return closest(path.name, siblings)


def open_images(
    data: DataChoice, split: str, class_map: str | None = None, on_progress: Progress | None = None
) -> Images:
    """One split of a data set.

    Args:
        class_map: file that says which index each class has; without it, its sorted position.
        on_progress: called with the class folders listed so far and their number; not when an index knows them.

    Raises:
        FastViTError: no such data set or split, no class folders, a class without images or not in the map, or a bad
            map.
    """
    known = None if class_map is None else read_class_map(Path(class_map).expanduser())
    images = open_spec(data.name, split) if data.root is None else open_split(data.root, split, on_progress)
    return images if known is None else apply(images, known)


def open_split(root: Path, split: str, on_progress: Progress | None = None) -> ImageFolder:
    """List the images of one split: `root/<split>/<class>/**`, or `root/<class>/**` when `root` is a split itself.

    Raises:
        FastViTError: no such split, no class folders, or a class without images.
    """
    return open_indexed(_split_folder(root, split), on_progress)


def _split_folder(root: Path, split: str) -> Path:
    for name in _SPLIT_FOLDERS.get(split, (split,)):
        if (root / name).is_dir():
            return root / name
    known = {name for names in _SPLIT_FOLDERS.values() for name in names}
    there = [name for name in sorted(known) if (root / name).is_dir()]
    if there:
        raise FastViTError(f"'{root}' has no '{split}' split.", f"It has: {', '.join(there)}. {FOLDER_HINT}")
    if split == "train":
        raise FastViTError(f"'{root}' has no 'train' folder.", FOLDER_HINT)
    return root


def check_same_classes(train: Images, val: Images) -> None:
    """Raises:
    FastViTError: the splits do not hold the same classes; names some that differ.
    """
    if train.class_names == val.class_names:
        return
    only_train = sorted(set(train.class_names) - set(val.class_names))
    only_val = sorted(set(val.class_names) - set(train.class_names))
    parts = [f"only in '{train.where}': {some(only_train)}"] if only_train else []
    parts += [f"only in '{val.where}': {some(only_val)}"] if only_val else []
    raise FastViTError(
        f"Training and validation hold different classes; {'; '.join(parts) or 'they differ in order'}.",
        "Give both the same class folders.",
    )
