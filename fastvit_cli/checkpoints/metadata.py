"""What we know of a model beside its weights; written into every file as one JSON text."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.network import Form
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.names import composed

METADATA_KEY = "fastvit"
METADATA_VERSION = 1
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

    def to_json(self) -> str:
        return json.dumps({"version": METADATA_VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "ModelInfo":
        """Parse what `to_json` wrote.

        Raises:
            FastViTError: not our metadata, or of a newer version than this program knows.
        """
        try:
            fields = dict(json.loads(text))
            version = fields.pop("version")
            if version != METADATA_VERSION:
                raise FastViTError(
                    f"The file's metadata has version {version}; this program knows version {METADATA_VERSION}.",
                    "Upgrade fastvit.",
                )
            preprocessing = dict(fields.pop("preprocessing"))
            for name in ("mean", "std"):
                preprocessing[name] = tuple(float(value) for value in preprocessing[name])
            names = fields.pop("class_names")
            info = cls(
                **fields,
                preprocessing=Preprocessing(**preprocessing),
                class_names=None if names is None else tuple(str(name) for name in names),
            )
            if info.class_names and info.num_classes and len(info.class_names) != info.num_classes:
                raise ValueError(f"{len(info.class_names)} class names for {info.num_classes} classes")
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, FastViTError):
                raise
            raise FastViTError(
                f"The fastvit metadata in the file cannot be read ({type(error).__name__}: {error}).",
                "It was damaged or written by a newer version: upgrade fastvit, or pass another file.",
            ) from error
        return info
