"""Data sets that timm knows, named as timm names them: `KIND/NAME`, the kind in any case.

    hfds/NAME[@FOLDER]   Hugging Face data set, `ylecun/mnist` or a local folder; FOLDER is its cache
    torch/NAME[@FOLDER]  torchvision data set; without FOLDER it is downloaded to the user's cache, with FOLDER it
                         has to be there; image_folder, folder and imagenet need FOLDER
    tfds/NAME[@FOLDER]   TensorFlow data set, `NAME[/CONFIG][:VERSION]`; FOLDER is its data_dir
    wds/FOLDER           WebDataset shards (uncompressed .tar): with timm's `_info.json`, or `FOLDER/train/*.tar`, or
                         train as a word of their names, `imagenet-train-0001.tar`

The first `@` separates, unless what follows `KIND/` is a path that exists. A folder named like a spec is a folder.
All are read by index, so that batches do not depend on the number of workers; code that a data set brings is never
executed. Splits are train, val and test; val may be called validation, and a data set without one gives its test
split, as torchvision's do in timm.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fastvit_cli.data.images import Images, Labels
from fastvit_cli.data.timm_images import HfImages, TfdsImages, TorchImages, WdsImages, tfds_sources
from fastvit_cli.data.wds_shards import index_shards, splits_by_name, splits_in_info
from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.names import composed

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev", "eval", "test"),
    "test": ("test",),
}
_TORCH_NAMES = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist", "inaturalist", "inat")
_TORCH_NEEDS_FOLDER = ("image_folder", "folder", "imagenet")  # torchvision cannot download these
_TORCH_NAMES_ALL = (*_TORCH_NAMES, "places365", *_TORCH_NEEDS_FOLDER)
_HFDS_HINT = "Check the name on huggingface.co/datasets and the network; a private one needs: hf auth login"
_TFDS_HINT = "Check the name on tensorflow.org/datasets/catalog and the network."
_IMAGE, _LABEL = "image", "label"
_MOST_CLASSES = 1_000_000  # beyond, a number without a name is an identifier and no class


@dataclass(frozen=True)
class _Spec:
    data: str
    kind: str
    name: str
    folder: Path | None

    @property
    def root(self) -> str | None:
        return None if self.folder is None else str(self.folder)


def is_spec(data: str) -> bool:
    """Whether `data` names a data set of timm's, and not a folder that exists."""
    kind, _, name = data.partition("/")
    return kind.lower() in _OPENERS and bool(name) and not Path(data).is_dir()


def absolute_spec(data: str) -> str:
    """The same spec with its folders absolute, so that it means the same from any working directory.

    Raises:
        FastViTError: an incomplete spec.
    """
    spec = _parse(data)
    is_path = spec.kind == "wds" or (spec.kind == "hfds" and Path(spec.name).exists())
    name = str(Path(spec.name).expanduser().resolve()) if is_path else spec.name
    return f"{spec.kind}/{name}" + (f"@{spec.folder}" if spec.folder else "")


def needs_folder(data: str) -> bool:
    """Whether a spec names a folder of this machine, and not only what timm downloads.

    Raises:
        FastViTError: an incomplete spec.
    """
    spec = _parse(data)
    name = Path(spec.name)
    return spec.kind == "wds" or spec.folder is not None or name.is_absolute() or name.exists()


def open_spec(data: str, split: str) -> Images:
    """Open one split (train, val or test) of a spec; see the module for how specs are written.

    Raises:
        FastViTError: no such kind, data set or split, a package or folder that is missing, no network, or images
            without class labels.
    """
    spec = _parse(data)
    return _OPENERS[spec.kind](spec, split)


def _parse(data: str) -> _Spec:
    prefix, _, rest = data.partition("/")
    kind = prefix.lower()
    assert kind in _OPENERS, "is_spec said so"
    name, at, folder = rest, "", ""
    if kind != "wds" and not Path(rest).exists():
        name, at, folder = rest.partition("@")
    if not name or (at and not folder):
        form = "wds/FOLDER" if kind == "wds" else f"{kind}/NAME or {kind}/NAME@FOLDER"
        raise FastViTError(f"'{data}' is incomplete.", f"Write {form}.")
    return _Spec(data, kind, name, Path(folder).expanduser().resolve() if folder else None)


def _open_hfds(spec: _Spec, split: str) -> Images:
    datasets = _package("datasets", "datasets", spec)
    with _library(spec, _HFDS_HINT):
        chosen = _choose(spec, split, datasets.get_dataset_split_names(spec.name, cache_dir=spec.root))
        dataset = datasets.load_dataset(spec.name, split=chosen, cache_dir=spec.root)
        image = _column(spec, dataset.features, _IMAGE, datasets.Image)
        label = _column(spec, dataset.features, _LABEL, datasets.ClassLabel)
        names = getattr(dataset.features[label], "names", None) or ()
        values = dataset.select_columns([label]).with_format("numpy")[:][label]
        encoded = dataset.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    return HfImages(*_labelled(f"{spec.data} ({chosen})", values, names), encoded, image)


def _column(spec: _Spec, features: dict[str, Any], name: str, kind: type) -> str:
    """The column of that name, else the only one of that kind."""
    if name in features:
        return name
    fitting = [column for column, feature in features.items() if isinstance(feature, kind)]
    if len(fitting) == 1:
        return fitting[0]
    raise FastViTError(
        f"'{spec.data}' has no column '{name}'.",
        f"It has: {', '.join(features)}. There must be an 'image' and a 'label', or one column of each kind.",
    )


def _open_torch(spec: _Spec, split: str) -> Images:
    name = spec.name.lower()
    if name not in _TORCH_NAMES_ALL:
        hint = f"{closest(name, _TORCH_NAMES_ALL)}timm has: {', '.join(_TORCH_NAMES_ALL)}."
        raise FastViTError(f"There is no torchvision data set '{spec.name}'.", hint)
    if spec.folder is None and name in _TORCH_NEEDS_FOLDER:
        raise FastViTError(f"'{spec.data}' cannot be downloaded.", f"Say where it is: torch/{spec.name}@FOLDER")
    if spec.folder is not None and not spec.folder.is_dir():
        raise FastViTError(f"There is no folder '{spec.folder}'.", f"It is to hold what torch/{spec.name} reads.")
    if spec.folder is not None and name in ("image_folder", "folder"):
        _check_split_folder(spec.folder, split)
    from platformdirs import user_cache_path
    from timm.data import create_dataset

    root = spec.folder or user_cache_path("fastvit") / "torch" / name
    has = f"Put it there, or pass torch/{name} without a folder to download it."
    hint = f"Check the network, or pass torch/{name}@FOLDER." if spec.folder is None else has
    with _library(spec, hint):
        root.mkdir(parents=True, exist_ok=True)
        # The folder is not downloaded to: what is meant to be there and is not is a mistake.
        dataset = create_dataset(f"torch/{name}", root=str(root), split=split, download=spec.folder is None)
    return TorchImages(*_labelled(f"{spec.data} ({split})", *_torch_classes(spec, dataset)), dataset)


def _check_split_folder(folder: Path, split: str) -> None:
    """timm takes the folder itself for a split that it does not find, whose classes would be the other splits."""
    known = sorted({name for names in _SPLIT_NAMES.values() for name in names})
    there = [name for name in known if (folder / name).is_dir()]
    own = {"train": ("train", "training"), "test": ("test",)}.get(split, ("val", "valid", "validation", "eval"))
    if there and not set(own) & set(there):
        raise FastViTError(f"'{folder}' has no '{split}' split.", f"It has: {', '.join(there)}.")


def _torch_classes(spec: _Spec, dataset: Any) -> tuple[Any, Iterable[str]]:
    if hasattr(dataset, "all_categories"):  # iNaturalist, which lists its files as the disk does
        dataset.index.sort()
        return [category for category, _ in dataset.index], dataset.all_categories
    values = getattr(dataset, "targets", getattr(dataset, "labels", None))
    if values is None:
        raise FastViTError(f"'{spec.data}' has no class labels.", "Pass a data set for classification.")
    values = np.asarray(values)
    # QMNIST has eight columns, of which the first is the class. ImageNet has two classes named crane: its ids differ.
    return values[:, 0] if values.ndim == 2 else values, getattr(dataset, "wnids", getattr(dataset, "classes", ()))


def _open_wds(spec: _Spec, split: str) -> Images:
    _package("webdataset", "webdataset", spec)
    from timm.data.readers import create_reader

    folder = Path(spec.name).expanduser().resolve()
    if not folder.is_dir():
        raise FastViTError(f"There is no folder '{folder}'.", "Write wds/FOLDER with the folder of the shards.")
    listed = splits_in_info(folder)
    if listed:
        chosen = _choose(spec, split, listed)
        with _library(spec, "Check its _info.json."):
            info = create_reader("wds/", root=str(folder), split=chosen).split_info
        shards = [str(folder / name) for name in info.filenames]
        index, values = index_shards(shards, info.alt_label, () if info.alt_label else info.shard_lengths)
    else:
        named = splits_by_name(folder)
        chosen = _choose(spec, split, named)
        index, values = index_shards(named[chosen])
    return WdsImages(*_labelled(f"{spec.data} ({chosen})", values, ()), index)


def _open_tfds(spec: _Spec, split: str) -> Images:
    _package("tensorflow_datasets", "tensorflow-datasets", spec)
    with _library(spec, _TFDS_HINT):
        sources = tfds_sources(spec.name, spec.root, os.getpid())
        chosen = _choose(spec, split, sources)
        source = sources[chosen]
        features = source.dataset_info.features
        for column in (_IMAGE, _LABEL):
            if column not in features:
                hint = f"It has: {', '.join(features)}. Pass a data set for classification."
                raise FastViTError(f"'{spec.data}' has no feature '{column}'.", hint)
        values = [source[index][_LABEL] for index in range(len(source))]
    names = getattr(features[_LABEL], "names", None) or ()
    return TfdsImages(*_labelled(f"{spec.data} ({chosen})", values, names), (spec.name, spec.root, chosen))


_OPENERS: dict[str, Callable[[_Spec, str], Images]] = {
    "hfds": _open_hfds,
    "torch": _open_torch,
    "wds": _open_wds,
    "tfds": _open_tfds,
}


def _package(module: str, package: str, spec: _Spec) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        message = f"'{spec.data}' needs the package {package}, which is not installed."
        raise FastViTError(message, f"Run: pip install {package}") from error


@contextmanager
def _library(spec: _Spec, hint: str) -> Iterator[None]:
    """What the libraries print goes to stderr, and whatever they raise (each has its own types) becomes one line."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except FastViTError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        reason = f"{type(error).__name__}: {first}" if isinstance(error, KeyError) or not first else first
        raise FastViTError(f"'{spec.data}' cannot be opened: {reason[:200].rstrip('.')}.", hint) from error


def _choose(spec: _Spec, split: str, there: Iterable[str]) -> str:
    names = list(there)
    for name in _SPLIT_NAMES.get(split, (split,)):
        if name in names:
            return name
    listed = f"It has: {', '.join(names)}." if names else "It has no split at all."
    raise FastViTError(f"'{spec.data}' has no '{split}' split.", listed)


def _labelled(where: str, values: Any, names: Iterable[str]) -> tuple[str, tuple[str, ...], Labels]:
    """Checked labels and their names, which are numbers where the data set has none."""
    labels = np.asarray(values)
    if labels.size == 0:
        raise FastViTError(f"'{where}' holds no images.", "Pass another data set or split.")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise FastViTError(f"'{where}' has no class labels.", "There must be one class an image, a number from 0 on.")
    class_names = tuple(composed(str(name)) for name in names)
    if not class_names:
        class_names = tuple(str(number) for number in range(min(labels.max() + 1, _MOST_CLASSES)))
    if labels.max() >= len(class_names):
        raise FastViTError(
            f"'{where}' has the label {labels.max()} and names for {len(class_names)} classes.", "Its files disagree."
        )
    return where, class_names, labels.astype(np.int32)
