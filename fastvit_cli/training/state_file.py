"""`state.pt`: all that `--resume` needs, with a checksum over every tensor and every plain value."""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.torch_files import check_archive
from fastvit_cli.errors import FastViTError

_CHECKSUM = "checksum"


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values in dicts, lists and tuples; the file appears whole or not at all.

    Raises:
        FastViTError: the folder cannot be written, or the disk is full.
    """
    with replaced_when_done(path) as temporary:
        try:
            torch.save({**state, _CHECKSUM: content_checksum(state)}, temporary)
        except RuntimeError as error:  # torch raises it in place of the OSError, and does not say which
            raise FastViTError(
                f"Writing '{path}' failed; most often the disk is full.",
                "Free some space and go on with --resume: what was saved before is still there.",
            ) from error


def read_state(path: Path, way_on: str) -> dict[str, Any]:
    """What `write_state` was given.

    Args:
        way_on: what to do without the state, as the end of a hint.

    Raises:
        FastViTError: the file is damaged, of an earlier version, or cannot be read.
    """
    try:
        check_archive(path)  # first: torch trusts the sizes it finds in a damaged file
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved = state.pop(_CHECKSUM, None)
        whole = saved is None or saved == content_checksum(state)
    except Exception as error:  # torch raises many types on damaged archives, none of them its own
        # An OSError without a name is a seek to where a damaged file has nothing.
        reason = f"{error.strerror}" if isinstance(error, OSError) and error.filename else "it is damaged"
        raise _unusable(path, reason, way_on) from error
    if saved is None:
        raise _unusable(path, "an earlier version wrote it, without a checksum", way_on)
    if not whole:
        raise _unusable(path, "it is damaged: its checksum differs", way_on)
    return state


def _unusable(path: Path, reason: str, way_on: str) -> FastViTError:
    return FastViTError(
        f"The state of the run in '{path}' cannot be read ({reason}).",
        f"Copy it again if it was copied, or {way_on}.",
    )


def content_checksum(content: Any) -> str:
    """BLAKE2b over all values in their order, a tensor by its type, shape and CRC-32.

    For damage, not against forgery: a cryptographic hash of all bytes would take as long again as writing them.
    """
    digest = hashlib.blake2b(digest_size=32)
    _add(digest, content)
    return digest.hexdigest()


def _add(digest: "hashlib.blake2b", value: Any) -> None:
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        digest.update(f"{value.dtype} {tuple(value.shape)} {zlib.crc32(flat)};".encode())
    elif isinstance(value, Mapping):
        digest.update(f"{len(value)} pairs;".encode())
        for pair in value.items():
            _add(digest, pair)
    elif isinstance(value, list | tuple):
        digest.update(f"{type(value).__name__} of {len(value)};".encode())
        for item in value:
            _add(digest, item)
    else:
        assert value is None or isinstance(value, bool | int | float | str), type(value)
        digest.update(f"{value!r};".encode())
