"""What the runtimes of exported files share: the metadata inside and the one image size."""

from pathlib import Path

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.checksum import check_checksum, files_of

_MOST_BYTES = 4 * 2**30  # the largest variant takes 0.2 in float32; to read more would cost as much memory


def check_file(path: Path, what: str) -> None:
    """What is done before any library opens an exported file.

    Args:
        what: the kind of file, as in `unreadable`.

    Raises:
        FastViTError: nothing there, only a part of it, what is no regular file, or not what `fastvit export` wrote.
    """
    if not path.exists():
        raise FastViTError(f"There is no file '{path}'.", "Pass a model that `fastvit export` wrote.")
    for file in files_of(path):
        if not file.exists():
            raise missing_weights(path, file.name)
        if not file.is_file():  # reading a pipe would wait without an end
            raise FastViTError(f"'{file}' is no regular file.", "Copy the model again, or export it again.")
        if file.stat().st_size > _MOST_BYTES:
            raise FastViTError(f"'{file}' is larger than any FastViT.", "Copy the model again, or export it again.")
    try:
        check_checksum(path)
    except FastViTError:
        raise
    except Exception as error:  # whatever zipfile meets in a damaged archive
        raise unreadable(path, what, error) from error


def missing_weights(path: Path, file: str) -> FastViTError:
    """The error for a graph whose file of weights is not there."""
    return FastViTError(
        f"'{path}' keeps its weights in '{file}', which is not there.",
        "Put both into one folder under their own names, or export the model again.",
    )


def unreadable(path: Path, what: str, error: Exception) -> FastViTError:
    """The error for a file whose library cannot read it."""
    reason = (str(error).splitlines() or [""])[0]
    return FastViTError(
        f"'{path}' is no {what} model that can be opened ({type(error).__name__}: {reason}).",
        "It is damaged or of another kind: export it again.",
    )


def read_info(path: Path, properties: dict[str, str]) -> ModelInfo:
    """The metadata among the text properties of an exported file.

    Raises:
        FastViTError: none there, or it cannot be read.
    """
    if METADATA_KEY not in properties:
        raise FastViTError(
            f"'{path}' does not say which model it is: it has no fastvit metadata.",
            "Write it with `fastvit export`, which puts classes and preprocessing inside"
            + ("; `fastvit bench` times it as it is." if path.suffix == ".onnx" else "."),
        )
    return ModelInfo.from_json(properties[METADATA_KEY])


def check_size(images: Tensor, info: ModelInfo) -> None:
    """Refuse images of another size than the model was exported for.

    Raises:
        FastViTError: images of another size than the model was exported for.
    """
    size = info.preprocessing.img_size
    if tuple(images.shape[1:]) != (3, size, size):
        got = "x".join(map(str, images.shape[1:]))
        raise FastViTError(
            f"The model was exported for images of 3x{size}x{size}, not {got}.",
            f"Pass --img-size {size}, or export it again with another --img-size.",
        )


def to_pixels(images: Tensor, info: ModelInfo) -> Tensor:
    """What a model with an image input is given: float32 of whole numbers 0 to 255.

    Normalised images are brought back to them. (B, 3, H, W) to the same.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32, memory_format=torch.contiguous_format)
    mean = torch.tensor(info.preprocessing.mean).reshape(3, 1, 1)
    std = torch.tensor(info.preprocessing.std).reshape(3, 1, 1)
    return ((images * std + mean) * 255.0).round().clamp(0.0, 255.0)


@torch.inference_mode()
def module_logits(module: nn.Module, images: Tensor, info: ModelInfo, device: torch.device) -> Tensor:
    """Logits of a program that PyTorch has loaded, as `Runtime.logits` promises them.

    Raises:
        FastViTError: images of another size than the model was exported for.
    """
    check_size(images, info)
    out: Tensor = module(normalize(images.to(device), info))
    return out.float().cpu()
