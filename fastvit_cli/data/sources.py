"""Where images come from: class folders, named by `--data`, by the checkpoint, by the environment, or the demo."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastvit_cli.data.demo import ensure_demo_dataset
from fastvit_cli.errors import FastViTError, closest

DEMO = "demo"
ENVIRONMENT_VARIABLE = "FASTVIT_DATA"
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"))
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
_FOLDER_HINT = "Pass --data with a folder that holds train/ and val/, each with one folder a class."


@dataclass(frozen=True)
class DataChoice:
    """The data set a command works on.

    Attributes:
        name: what `--data` would be to get it again.
        root: folder with the splits.
        reason: why this one, for the user to read.
    """

    name: str
    root: Path
    reason: str


@dataclass(frozen=True)
class ImageFolder:
    """One split of a class-folder data set. `labels[i]` indexes `class_names`; sorted, so the same everywhere."""

    root: Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


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
    root = Path(name).expanduser()
    if not root.is_dir():
        raise FastViTError(f"There is no data folder '{name}' ({reason}).", f"{_near(root)}{_FOLDER_HINT}")
    return DataChoice(str(root.resolve()), root.resolve(), reason)


def _near(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return closest(path.name, siblings)


def open_split(root: Path, split: str) -> ImageFolder:
    """List the images of one split: `root/<split>/<class>/**`, or `root/<class>/**` when `root` is a split itself.

    Raises:
        FastViTError: no such split, no class folders, or a class without images.
    """
    folder = _split_folder(root, split)
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise FastViTError(f"'{folder}' holds no class folders.", _FOLDER_HINT)
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images_below(folder / name)
        if not found:
            raise FastViTError(
                f"The class folder '{folder / name}' holds no images.",
                f"Remove it or put images into it ({', '.join(sorted(IMAGE_SUFFIXES))}).",
            )
        paths += found
        labels += [label] * len(found)
    return ImageFolder(folder, tuple(classes), tuple(paths), tuple(labels))


def _split_folder(root: Path, split: str) -> Path:
    for name in _SPLIT_FOLDERS.get(split, (split,)):
        if (root / name).is_dir():
            return root / name
    known = {name for names in _SPLIT_FOLDERS.values() for name in names}
    there = [name for name in sorted(known) if (root / name).is_dir()]
    if there:
        raise FastViTError(f"'{root}' has no '{split}' split.", f"It has: {', '.join(there)}. {_FOLDER_HINT}")
    if split == "train":
        raise FastViTError(f"'{root}' has no 'train' folder.", _FOLDER_HINT)
    return root


def _images_below(folder: Path) -> list[str]:
    return sorted(
        str(Path(parent) / name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
    )


def check_same_classes(train: ImageFolder, val: ImageFolder) -> None:
    """Raises:
    FastViTError: the splits do not hold the same classes; names some that differ.
    """
    if train.class_names == val.class_names:
        return
    only_train = sorted(set(train.class_names) - set(val.class_names))
    only_val = sorted(set(val.class_names) - set(train.class_names))
    parts = [f"only in '{train.root}': {_some(only_train)}"] if only_train else []
    parts += [f"only in '{val.root}': {_some(only_val)}"] if only_val else []
    raise FastViTError(
        f"Training and validation hold different classes; {'; '.join(parts)}.",
        "Give both the same class folders.",
    )


def with_model_classes(folder: ImageFolder, num_classes: int, class_names: tuple[str, ...] | None) -> ImageFolder:
    """The same images with labels that index the model's classes.

    By name when the model knows its names (the folder may hold only some of them), else by sorted position.

    Raises:
        FastViTError: a class the model does not have, or another number of classes.
    """
    if class_names is not None:
        unknown = sorted(set(folder.class_names) - set(class_names))
        if unknown:
            raise FastViTError(
                f"'{folder.root}' holds {len(unknown)} classes that the model does not know: {_some(unknown)}.",
                f"The model knows {len(class_names)}: {_some(list(class_names))}. Pass its own --data.",
            )
        position = {name: index for index, name in enumerate(class_names)}
        labels = tuple(position[folder.class_names[label]] for label in folder.labels)
        return ImageFolder(folder.root, class_names, folder.paths, labels)
    if len(folder.class_names) != num_classes:
        raise FastViTError(
            f"'{folder.root}' holds {len(folder.class_names)} classes and the model has {num_classes}.",
            "Pass the --data it was trained for; its file does not say the names of its classes.",
        )
    return folder


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
