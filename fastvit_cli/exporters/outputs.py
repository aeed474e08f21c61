"""Where a result goes, and the event that says how far the work is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fastvit_cli.atomic import refuse_existing
from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.errors import FastViTError


@dataclass(frozen=True)
class Step:
    """A part of the work begins, or goes on.

    Attributes:
        title: what is being done, such as `Writing best.onnx`.
        done, total: how far it is; None for a part that does not say.
    """

    title: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Calibration:
    """What fewer bits are calibrated with, or the layers chosen that bear them.

    Attributes:
        images: raw uint8 (B, 3, img_size, img_size), such as the network was trained on.
        on_progress: called with the layers measured so far and their number.
    """

    images: Tensor
    on_progress: Callable[[int, int], None] = lambda _done, _total: None


def choose_output(given: str | None, loaded: LoadedModel, ending: str, force: bool) -> Path:
    """The path to write: the given one, whose suffix may be left out, else `<name of weights><ending>` beside them.

    A model without a file goes to `fastvit_<variant><ending>` in the current folder.

    Raises:
        FastViTError: the output exists and `force` is not set, is the model's own file, or has another suffix.
    """
    suffix = Path(f"x{ending}").suffix
    path = Path(given).expanduser() if given else _beside(loaded, ending)
    if path.name not in ("", "..") and not path.suffix:
        path = path.with_name(f"{path.name}{suffix}")
    if path.suffix != suffix:
        raise FastViTError(f"The output '{path}' does not end in {suffix}.", f"Pass --output {path.stem}{suffix}.")
    if loaded.path is not None and path.resolve() == loaded.path.resolve():
        raise FastViTError(f"The output '{path}' is the model itself.", "Pass another --output.")
    refuse_existing(path, force)
    return path


def _beside(loaded: LoadedModel, ending: str) -> Path:
    if loaded.path is None:
        return Path(f"fastvit_{loaded.info.variant}{ending}")
    stem = Path(loaded.path.name.removesuffix(".tar")).stem  # model.pth.tar is called model
    return loaded.path.with_name(f"{stem}{ending}")
