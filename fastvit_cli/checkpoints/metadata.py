"""What we know of a model beside its weights; written into every file as one JSON text."""

import hashlib
import json
import math
import typing
from dataclasses import asdict, dataclass, field
from types import UnionType
from typing import Any, Literal

from fastvit_cli.errors import FastViTError, excerpt
from fastvit_cli.models.network import Form
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import VARIANTS
from fastvit_cli.names import composed

METADATA_KEY = "fastvit"
METADATA_VERSION = 1
_MOST_LETTERS = 8 * 2**20
_LARGEST_IMAGE, _MOST_CLASSES = 8192, 10**6  # pixels a side; both far above what anybody trains
OTHER_VARIANT = "other"  # an exported file that does not say what network is inside


@dataclass(frozen=True)
class ModelInfo:
    """Everything a command needs to use a model without asking its user again.

    Attributes:
        variant: name in the family table, or `OTHER_VARIANT`.
        form: unfused, branches or all (see models.network.Form).
        num_classes: size of the classifier; 0 for a backbone without one.
        class_names: in the order of the logits, in Unicode's composed form as those of folders are; None when the
            file does not say.
        class_descriptions: what to show a person in their place, in the same order; None where the names will do.
        data: the `--data` it was trained on; None when unknown.
        epoch: epochs trained, counted from 1; None when unknown.
        top1: validation top-1 in percent of exactly these weights; None when unknown.
        recipe: the resolved training configuration.
        checksum: of the tensors, see `tensors_checksum`; None in files of other programs.
    """

    variant: str
    form: Form
    num_classes: int
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None
    class_descriptions: tuple[str, ...] | None = None
    data: str | None = None
    epoch: int | None = None
    top1: float | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None

    def __post_init__(self) -> None:
        if self.class_names is not None:
            object.__setattr__(self, "class_names", tuple(map(composed, self.class_names)))

    @property
    def fused(self) -> bool:
        return self.form != "unfused"

    @property
    def is_classifier(self) -> bool:
        """Whether the outputs are classes; those of a backbone and of MobileCLIP's projection are an embedding."""
        row = VARIANTS.get(self.variant)
        projects = row is not None and row.projects and row.num_classes == self.num_classes
        return self.num_classes > 0 and (self.class_names is not None or not projects)

    def check_classifier(self) -> None:
        """Refuse a model whose outputs are no classes.

        Raises:
            FastViTError: the outputs are no classes.
        """
        if not self.is_classifier:
            numbers = f"{self.num_classes} numbers" if self.num_classes else "numbers"
            raise FastViTError(
                f"The model is no classifier: its {numbers} are an embedding of the image.",
                "Train classes on it (fastvit train --ckpt FILE --data FOLDER), or export it with fastvit export.",
            )

    def to_json(self) -> str:
        """One JSON text, with a digest of itself: changed class names or sizes are no other than changed weights."""
        content = {"version": METADATA_VERSION, **asdict(self)}
        return json.dumps({**content, "digest": _digest(content)})

    @classmethod
    def from_json(cls, text: str) -> "ModelInfo":
        """Parse what `to_json` wrote.

        Raises:
            FastViTError: not our metadata, changed since, of a version that this program does not know, or values of
                no model.
        """
        if len(text) > _MOST_LETTERS:
            raise _unreadable(f"it is {len(text)} letters long")
        try:
            given = _object(json.loads(text), "metadata")
            digest, version = given.pop("digest"), given["version"]
            if version != METADATA_VERSION:
                raise FastViTError(
                    f"The file's metadata has version {excerpt(version)}; this program knows version "
                    f"{METADATA_VERSION}.",
                    "Upgrade fastvit.",
                )
            if digest != _digest(given):
                raise FastViTError(
                    "The fastvit metadata in the file is not what was written: its checksum differs.",
                    "The file was damaged or edited: copy it again from its source.",
                )
            del given["version"]
            preprocessing = _checked(Preprocessing, _object(given.pop("preprocessing"), "preprocessing"))
            info = cls(**_checked(cls, given), preprocessing=Preprocessing(**preprocessing))
            _check_ranges(info)
        except FastViTError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise _unreadable(f"{type(error).__name__}: {excerpt(error)}") from error
        return info


def looks_like_ours(text: str) -> bool:
    """Whether a text is what `to_json` writes, or was before it was damaged."""
    return text.startswith('{"version": ') and '"digest": "' in text[-100:]


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unreadable(why: str) -> FastViTError:
    return FastViTError(
        f"The fastvit metadata in the file cannot be read ({why}).",
        "It was damaged or written by a newer version: upgrade fastvit, or pass another file.",
    )


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {excerpt(repr(value), 40)}")
    return dict(value)


def _checked(kind: type, given: dict[str, Any]) -> dict[str, Any]:
    """The values of a dataclass as JSON gives them, of exactly the types that its fields have.

    Raises:
        TypeError: another type, an unknown name, or a number that is none.
    """
    hints = typing.get_type_hints(kind)
    return {name: _of_type(value, hints[name], name) for name, value in given.items()}


def _of_type(value: Any, hint: Any, name: str) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for kind in kinds:
        origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
        if origin is tuple and isinstance(value, list):
            each = args[:1] * len(value) if args[-1] is ... else args
            if len(each) != len(value):
                raise TypeError(f"{name} has {len(value)} values, not {len(each)}")
            return tuple(_of_type(item, one, name) for item, one in zip(value, each, strict=True))
        if origin is Literal and isinstance(value, str) and value in args:
            return value
        if kind is float and type(value) in (int, float) and math.isfinite(value):
            return float(value)
        if type(value) is origin and origin is not float:
            return value
    raise TypeError(f"{name} is {excerpt(repr(value), 40)}")


def _check_ranges(info: ModelInfo) -> None:
    """Refuse numbers and texts of the right type that no model has."""
    preprocessing, names = info.preprocessing, (*(info.class_names or ()), *(info.class_descriptions or ()))
    bounds = (
        ("img_size", preprocessing.img_size, 1, _LARGEST_IMAGE),
        ("the smallest std", min(preprocessing.std), 1e-6, 1e6),
        ("num_classes", info.num_classes, 0, _MOST_CLASSES),
        ("the length of variant", len(info.variant), 0, 80),
        ("the length of interpolation", len(preprocessing.interpolation), 0, 80),
        ("the length of a class name", max(map(len, names), default=0), 0, 1000),
    )
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise ValueError(f"{name} is {value}")
    for given in (info.class_names, info.class_descriptions):
        if given and info.num_classes and len(given) != info.num_classes:
            raise ValueError(f"{len(given)} class names for {info.num_classes} classes")
