"""Tensors from files and to files. Nothing here ever runs code that a file brings along."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.errors import FastViTError

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
EXPORTED_SUFFIXES = (".onnx", ".mlpackage", ".pt2", ".torchscript", ".xml")
"""Of the files that `export` writes, which `runtimes.open` opens. All else goes by its content, not its name."""

_SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes, set by the format
_WEIGHTS_HINT = "Pass a .safetensors, .pth, .pth.tar, .pt or .bin file with FastViT weights."


@dataclass(frozen=True)
class WeightsFile:
    """Tensors as a file holds them, wrappers peeled, and the text metadata of a safetensors header."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_weights(path: Path, prefer_ema: bool = True) -> WeightsFile:
    """Read any file of tensors: safetensors, or a PyTorch pickle under `weights_only=True`.

    Raises:
        FastViTError: missing, empty, a folder, exported, truncated, no weights in it, or a pickle that asks for code.
    """
    _check_readable(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise FastViTError(f"'{path}' cannot be read ({error.strerror}).", "Check its permissions.") from error
    # First, because the header length that a safetensors file begins with may look like the others: 0x80, or " <".
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _SAFETENSORS_HEADER_LIMIT:
        return _read_safetensors(path)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise FastViTError(f"'{path}' is a web page, not weights.", "Download the file itself again.")
    if start.startswith(b"version https://git-lfs"):
        raise FastViTError(f"'{path}' is a Git LFS pointer, not weights.", "Fetch the file with: git lfs pull")
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return WeightsFile(path, _peel(_read_pickle(path), path, prefer_ema), {})
    return _read_safetensors(path)


def _check_readable(path: Path) -> None:
    if path.exists() and path.suffix in EXPORTED_SUFFIXES:
        raise FastViTError(
            f"'{path}' is an exported file, not weights.", "Pass the checkpoint that it was made from."
        )
    if path.is_file() and path.name.endswith(".mlpackage.zip"):
        raise FastViTError(f"'{path}' is a zipped package.", f"Unzip it, and pass {path.stem}.")
    if path.is_dir():
        raise FastViTError(f"'{path}' is a folder without a checkpoint in it.", _WEIGHTS_HINT)
    if not path.exists():
        raise FastViTError(f"There is no file '{path}'.", _WEIGHTS_HINT)
    if path.stat().st_size == 0:
        raise FastViTError(f"'{path}' is empty.", "Its download or copy did not finish: fetch it again.")


def _read_safetensors(path: Path) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FastViTError(
            f"'{path}' is neither a whole safetensors file nor a PyTorch checkpoint ({error}).", _WEIGHTS_HINT
        ) from error
    return WeightsFile(path, _drop_prefixes(tensors), metadata)


def _read_pickle(path: Path) -> Any:
    import argparse

    try:
        if zipfile.is_zipfile(path):
            check_records(path)
        # Old trainers keep their parsed options beside the weights; a Namespace is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FastViTError(
            f"'{path}' asks to run code on loading, or is damaged; nothing in it was run.",
            "Ask its author for a file of plain tensors (safetensors, or torch.save of a state dict).",
        ) from error
    except Exception as error:  # torch raises many types on damaged archives, none of them its own
        raise FastViTError(
            f"'{path}' is a damaged PyTorch checkpoint ({type(error).__name__}).", "Fetch or save it again."
        ) from error


def check_records(path: Path) -> None:
    """Compare the records of torch's archive with their checksums, which torch.load does not do."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.external_attr & 0x10:  # marked as a folder: torch would return memory as it finds it
                raise zipfile.BadZipFile(f"{record.filename} is no record")
            if record.CRC == 0:  # torch.serialization.set_crc32_options(False) leaves them out
                continue
            with archive.open(record) as content:
                while content.read(2**20):
                    pass


_EMA_WRAPPERS = ("state_dict_ema", "model_ema", "ema")
_PLAIN_WRAPPERS = ("state_dict", "model")


def _peel(content: Any, path: Path, prefer_ema: bool) -> dict[str, Tensor]:
    """Find the state dict inside what trainers wrap around it."""
    order = _EMA_WRAPPERS + _PLAIN_WRAPPERS if prefer_ema else _PLAIN_WRAPPERS + _EMA_WRAPPERS
    for _ in range(3):  # one more than the deepest seen, {"model": {"state_dict": {...}}}
        inner = [content.get(key) for key in order] if isinstance(content, Mapping) else []
        content = next((found for found in inner if isinstance(found, Mapping) and found), content)
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise FastViTError(f"'{path}' holds no tensors ({type(content).__name__}).", _WEIGHTS_HINT)
    return _drop_prefixes(tensors)


_PREFIXES = ("module.", "_orig_mod.", "backbone.", "image_encoder.model.")


def _drop_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DataParallel, torch.compile and detectors put before every key of the backbone."""
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if any(key.startswith(prefix) for key in tensors):
                tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return tensors


def tensors_checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, independent of the order of the tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text metadata; the file appears whole or not at all.

    Raises:
        FastViTError: the folder cannot be written, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replaced_when_done(path) as temporary:
        try:
            save_file(plain, temporary, metadata=dict(metadata))
        except SafetensorError as error:  # its disguise of an OSError, such as a full disk
            raise FastViTError(
                f"Writing '{path}' failed ({error}).", "Free some space or pass another --output."
            ) from error
