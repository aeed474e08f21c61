"""Tensors from files and to files. Nothing here ever runs code that a file brings along."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.find_network import find_network
from fastvit_cli.checkpoints.metadata import METADATA_KEY
from fastvit_cli.checkpoints.stored import StoredTensor
from fastvit_cli.checkpoints.torch_files import read_torch_file
from fastvit_cli.errors import FastViTError, excerpt
from fastvit_cli.formats import EXPORTED_SUFFIXES, FOLDER_SUFFIXES

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes, set by the format
_WEIGHTS_HINT = "Pass a .safetensors, .pth, .pth.tar, .pt or .bin file with FastViT weights."


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of the network in a file, wrappers peeled; the text metadata of a safetensors header; and what was
    peeled, chosen or passed over, for the user to read."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def read_weights(path: Path, prefer_ema: bool = True, key: str | None = None) -> WeightsFile:
    """Read any file of tensors: safetensors, or what `torch.save` wrote, of which nothing is run.

    Args:
        prefer_ema, key: which network is meant where there are several, see `networks.find_network`.

    Raises:
        FastViTError: missing, empty, a folder, exported, truncated, without a FastViT or with several that might be
            meant, or a pickle that asks for code.
    """
    _check_readable(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise FastViTError(f"'{path}' cannot be read ({error.strerror}).", "Check its permissions.") from error
    # First, because the header length that a safetensors file begins with may look like the others: 0x80, or " <".
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _SAFETENSORS_HEADER_LIMIT:
        return _read_safetensors(path, prefer_ema, key)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise FastViTError(f"'{path}' is a web page, not weights.", "Download the file itself again.")
    if start.startswith(b"version https://git-lfs"):
        raise FastViTError(f"'{path}' is a Git LFS pointer, not weights.", "Fetch the file with: git lfs pull")
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        content = read_torch_file(path)
        if not content:
            raise FastViTError(f"'{path}' holds no tensors.", _WEIGHTS_HINT)
        found = find_network(content, f"'{path}'", prefer_ema, key)
        return WeightsFile(path, {name: stored.read() for name, stored in found.tensors.items()}, {}, found.notes)
    raise FastViTError(
        f"'{path}' is neither a whole safetensors file nor a PyTorch checkpoint: it begins like none.", _WEIGHTS_HINT
    )


def _check_readable(path: Path) -> None:
    if path.exists() and path.suffix in EXPORTED_SUFFIXES:
        raise FastViTError(
            f"'{path}' is an exported file, not weights.", "Pass the checkpoint that it was made from."
        )
    if path.is_file() and path.name.endswith(tuple(f"{suffix}.zip" for suffix in FOLDER_SUFFIXES)):
        raise FastViTError(f"'{path}' is a zipped package.", f"Unzip it, and pass {path.stem}.")
    if path.is_dir():
        raise FastViTError(f"'{path}' is a folder without a checkpoint in it.", _WEIGHTS_HINT)
    if not path.exists():
        raise FastViTError(f"There is no file '{path}'.", _WEIGHTS_HINT)
    if path.stat().st_size == 0:
        raise FastViTError(f"'{path}' is empty.", "Its download or copy did not finish: fetch it again.")


def _read_safetensors(path: Path, prefer_ema: bool, key: str | None) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: StoredTensor(name, partial(file.get_tensor, name)) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = dict(file.metadata() or {})
            notes: tuple[str, ...] = ()
            if stored and (METADATA_KEY not in metadata or key is not None):  # ours holds one network and a checksum
                found = find_network({(): stored}, f"'{path}'", prefer_ema, key)
                stored, notes = dict(found.tensors), found.notes
            tensors = {name: tensor.read() for name, tensor in stored.items()}
    except FastViTError:
        raise
    except MemoryError as error:
        raise FastViTError(
            f"'{path}' does not fit into the memory that may be used.",
            "Raise its limit (ulimit -v), or check that it is the right file.",
        ) from error
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FastViTError(
            f"'{path}' is neither a whole safetensors file nor a PyTorch checkpoint ({excerpt(error)}).",
            _WEIGHTS_HINT,
        ) from error
    return WeightsFile(path, tensors, metadata, notes)


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
