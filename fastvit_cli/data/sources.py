"""Which data set is meant, by `--data`, the checkpoint or the environment, and the images of its splits."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastvit_cli.data.class_folders import FOLDER_HINT, IMAGES_HINT, Progress, subfolders
from fastvit_cli.data.class_map import apply, read_class_map, some
from fastvit_cli.data.demo import ensure_demo_dataset
from fastvit_cli.data.folder_index import open_indexed
from fastvit_cli.data.held_out import held_out_part
from fastvit_cli.data.images import ImageFolder, Images, relabel
from fastvit_cli.data.label_list import is_label_list, open_label_list, splits_in
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.data.timm_specs import absolute_spec, is_spec, needs_folder, open_spec
from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.options import TrainedData

DEMO = "demo"
WHOLE = "all"  # the split that a folder of class folders is
ENVIRONMENT_VARIABLE = "FASTVIT_DATA"
_SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
SAME_CLASSES_HINT = "Give both the same class folders."
_NEAR = 0.7  # how alike a name must be to be meant, 1 for the same


@dataclass(frozen=True)
class DataChoice:
    """The data set a command works on.

    Attributes:
        name: what `--data` would be to get it again.
        root: folder with the splits, or a table of labels; None for a data set that timm reads.
        reason: why this one, for the user to read.
        val_split: share of each class that is held out for validation where the folder has no splits; None takes the
            folder as the split that is asked for.
    """

    name: str
    root: Path | None
    reason: str
    val_split: float | None = None


def choose_data(
    data: str | None,
    trained: TrainedData | None = None,
    on_demo_progress: Callable[[int, int], None] | None = None,
) -> DataChoice:
    """Decide which data set is meant, and draw the demo when it is that and not there yet.

    Of the folder that a model was trained on the same images are held out.

    Raises:
        FastViTError: the folder is not there.
    """
    environment = os.environ.get(ENVIRONMENT_VARIABLE)
    if data is not None:
        name, reason = data, "--data"
    elif trained is not None:
        name, reason = trained.data, "what the checkpoint was trained on"
    elif environment:
        name, reason = environment, ENVIRONMENT_VARIABLE
    else:
        name, reason = DEMO, "the built-in demo; pass --data FOLDER for your own images"
    if name == DEMO:
        return DataChoice(DEMO, ensure_demo_dataset(on_progress=on_demo_progress), reason)
    if is_spec(name):
        return DataChoice(absolute_name(name), None, reason)
    root = Path(name).expanduser()
    if not (root.is_dir() or (is_label_list(root) and root.is_file())):
        raise FastViTError(f"There is no data folder '{name}' ({reason}).", f"{_near(root)}{FOLDER_HINT}")
    absolute = absolute_name(name)
    val_split = trained.val_split if trained is not None and trained.data == absolute else None
    return DataChoice(absolute, root.resolve(), reason, val_split)


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
    images = (
        open_spec(data.name, split)
        if data.root is None
        else open_split(data.root, split, on_progress, data.val_split)
    )
    return images if known is None else apply(images, known)


def splits_of(data: DataChoice) -> tuple[str, ...]:
    """Which of train, val and test there are; "all" where there are none; what there may be of a spec.

    Raises:
        FastViTError: the folder or the table cannot be read.
    """
    if data.root is None:
        return tuple(_SPLIT_FOLDERS)[:2]
    if is_label_list(data.root):
        named = splits_in(data.root)
    else:
        # A class may be called train: but it holds images, and a split holds folders.
        folders = {name: split for name in subfolders(data.root) if (split := _split_named(name, ""))}
        named = set(folders.values()) if any(subfolders(data.root / name) for name in folders) else set()
    return tuple(split for split in _SPLIT_FOLDERS if split in named) or (WHOLE,)


def open_split(
    root: Path, split: str, on_progress: Progress | None = None, val_split: float | None = None
) -> ImageFolder:
    """List the images of one split: `root/<split>/<class>/**`, or `root/<class>/**` when `root` is a split itself.

    A table of labels in place of a folder is read as `open_label_list` does. With `val_split` what has no splits is
    divided: see `held_out_part`.

    A class of which there are no images to train on is refused; other splits may lack some.

    Raises:
        FastViTError: no such split, no class folders, or a class without images.
    """
    if is_label_list(root):
        images = open_label_list(root, split, val_split)
    elif val_split is not None and split in ("train", "val") and not has_splits(root):
        _refuse_data_sets_inside(root)
        images = held_out_part(open_indexed(root, on_progress), val_split, split)
    else:
        images = open_indexed(_split_folder(root, split), on_progress)
    empty = _classes_without_images(images)
    if empty and split == "train" and is_label_list(root):
        raise FastViTError(
            f"'{root}' has no training images of {some(empty)}.", "Give each class some, or take its lines out."
        )
    if empty and split == "train":
        alone = f"The class folder '{images.root / empty[0]}' holds no images."
        raise FastViTError(
            alone if len(empty) == 1 else f"{len(empty)} folders of '{images.where}' hold no images: {some(empty)}.",
            passed_over_words(images.passed_over) or f"{IMAGES_HINT} Or remove it.",
        )
    return images


def has_splits(root: Path) -> bool:
    """Whether a folder has one for a split, and not class folders alone; whether a table says which is which."""
    if is_label_list(root):
        return bool(splits_in(root))
    return (root / "train").is_dir() or bool(_split_folders(root, "train"))


def _split_folders(root: Path, split: str) -> dict[str, str]:
    """The folders that are splits, and which; that of `split` may have the name alone."""
    # A class may be called train, or valid: but it holds images, and a split holds folders.
    return {name: of for name in subfolders(root) if (of := _split_named(name, split)) and subfolders(root / name)}


def held_out_words(data: DataChoice) -> str:
    """What to say of images that are held out of folders without splits; nothing where none are."""
    if data.root is None or data.val_split is None or has_splits(data.root):
        return ""
    what = "table" if is_label_list(data.root) else "folder"
    return (
        f"The {what} has no splits: {100 * data.val_split:g} % of each class are held out for validation, by content."
    )


def _refuse_data_sets_inside(root: Path) -> None:
    for name in subfolders(root):
        if has_splits(root / name):
            raise FastViTError(
                f"'{root}' holds no classes but data sets: '{name}' has splits of its own.",
                f"Pass --data '{root / name}'.",
            )


def _split_folder(root: Path, split: str) -> Path:
    """The folder of the split's own name, else the one of another name for it; `root` where it is a split itself.

    Raises:
        FastViTError: it is not there while another split is, or several may be meant.
    """
    if (root / split).is_dir():
        return root / split
    names = subfolders(root)
    there = _split_folders(root, split)
    found = [name for name, of in there.items() if of == _split_named(split, split)]
    if len(found) > 1:
        raise FastViTError(
            f"'{root}' has {len(found)} folders for the split '{split}': {', '.join(found)}.",
            f"Name the one that is meant '{split}'.",
        )
    if found:
        return root / found[0]
    if there or split == "train":
        has = f"It has: {', '.join(there)}. " if there else ""
        what = "split" if there else "folder"
        raise FastViTError(f"'{root}' has no '{split}' {what}.", f"{_misnamed(split, names)}{has}{FOLDER_HINT}")
    return root


def _split_named(name: str, asked: str) -> str | None:
    """The split that a folder's name means, in any case; None where it means none."""
    lowered = name.lower()
    own = {split: names for split, names in _SPLIT_FOLDERS.items() if lowered in names}
    return next(iter(own), asked if lowered == asked.lower() else None)


def _misnamed(split: str, names: list[str]) -> str:
    """A hint at the folder that may be meant to be the split."""
    lowered = {name.lower(): name for name in names if _split_named(name, split) is None}
    for known in _SPLIT_FOLDERS.get(split, (split,)):
        near = difflib.get_close_matches(known, lowered, n=1, cutoff=_NEAR)
        near += [name for name in lowered if name.startswith(known)]
        if near:
            return f"If '{lowered[near[0]]}' is meant, name it '{split}'. "
    return ""


def with_training_classes(val: Images, train: Images) -> tuple[Images, tuple[str, ...]]:
    """The validation images with labels that index the training classes, and what to say of classes that one lacks.

    Raises:
        FastViTError: validation holds classes that training does not have.
    """
    if train.class_names != val.class_names:
        position = {name: index for index, name in enumerate(train.class_names)}
        unknown = [name for name in val.class_names if name not in position]
        if unknown:
            only_train = [name for name in train.class_names if name not in val.class_names]
            parts = [f"only in '{train.where}': {some(only_train)}"] if only_train else []
            parts += [f"only in '{val.where}': {some(unknown)}"]
            raise FastViTError(
                f"Validation holds classes that training does not have; {'; '.join(parts)}.",
                SAME_CLASSES_HINT,
            )
        lookup = np.array([position[name] for name in val.class_names], dtype=np.int32)
        val = val.relabelled(train.class_names, relabel(val.labels, lookup))
    untrained, unscored = (dict.fromkeys(_classes_without_images(images)) for images in (train, val))
    notes = []
    for what, names, so in (
        ("Validation", [name for name in unscored if name not in untrained], "the scores are of the others"),
        ("Training", [name for name in untrained if name not in unscored], "validation has some"),
    ):
        if names:
            of = f"{len(names):,} of the {len(train.class_names):,} classes"
            notes.append(f"{what} has no images of {of} ({some(names)}); {so}.")
    return val, tuple(notes)


def _classes_without_images(images: Images) -> list[str]:
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    return [images.class_names[index] for index in np.flatnonzero(counts == 0)]
