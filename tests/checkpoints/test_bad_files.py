"""Files that hold no FastViT, or a broken one: each is named in one line, and none can run code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.errors import EXIT_USAGE, FastViTError
from fastvit_cli.formats import EXPORTED_SUFFIXES
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT

Tensors = dict[str, Tensor]


def error_of(path: Path) -> FastViTError:
    """The error that loading gives; it names the file, takes one line and says what to do."""
    with pytest.raises(FastViTError) as caught:
        load_checkpoint(path)
    error = caught.value
    assert str(path) in error.message
    assert error.hint
    assert "\n" not in error.message + error.hint
    assert error.exit_code == EXIT_USAGE
    return error


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# --- not weights at all ---------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    assert "There is no file" in error_of(tmp_path / "no.pth").message


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in error_of(tmp_path).message


@pytest.mark.parametrize("name", ["e.pth", "e.safetensors"])
def test_empty(tmp_path: Path, name: str) -> None:
    assert "is empty" in error_of(write(tmp_path / name, b"")).message


@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b"\n  <html>", b"\xef\xbb\xbf<html>", b"<script>{"])
def test_web_page(tmp_path: Path, start: bytes) -> None:
    assert "is a web page" in error_of(write(tmp_path / "t8.pth", start + b"<p>Not found</p>" * 9)).message


@pytest.mark.parametrize("suffix", EXPORTED_SUFFIXES)
def test_exported_files_are_called_that(tmp_path: Path, suffix: str) -> None:
    """Their content would pass for a web page, or for a damaged checkpoint."""
    error = error_of(write(tmp_path / f"m{suffix}", b"<?xml version='1.0'?>"))
    assert "is an exported file" in error.message
    assert "checkpoint that it was made from" in error.hint


def test_zipped_package(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.mlpackage.zip", "w") as archive:
        archive.writestr("best.mlpackage/Manifest.json", "{}")
    error = error_of(tmp_path / "best.mlpackage.zip")
    assert "is a zipped package" in error.message
    assert error.hint == "Unzip it, and pass best.mlpackage."


def test_git_lfs_pointer(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 16149000\n"
    error = error_of(write(tmp_path / "t8.safetensors", pointer))
    assert "Git LFS pointer" in error.message
    assert "git lfs pull" in error.hint


@pytest.mark.parametrize(
    "content", [b"x", b"hello world" * 100, b"\x00" * 64, b"\xff" * 64, b"\x93NUMPY\x01\x00" * 9]
)
def test_other_bytes(tmp_path: Path, content: bytes) -> None:
    assert "neither a whole safetensors file" in error_of(write(tmp_path / "t8.pth", content)).message


def test_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "photos.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"\xff\xd8")
    assert "damaged PyTorch checkpoint" in error_of(path).message


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "secret.pth", b"PK\x03\x04")

    def refuse(*_args: Any, **_kwargs: Any) -> None:  # permissions do not stop root, whom CI runs as
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in error_of(path).message


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, [torch.zeros(2)], "text", 7, None])
def test_pickle_without_tensors(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "none.pth"
    torch.save(content, path)
    assert "holds no tensors" in error_of(path).message


# --- cut short ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.5, 0.999999])
def test_truncated_safetensors(saved: Path, tmp_path: Path, share: float) -> None:
    content = saved.read_bytes()
    error = error_of(write(tmp_path / "cut.safetensors", content[: int(len(content) * share)]))
    assert "neither a whole safetensors file" in error.message


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0001, 0.001, 0.5, 0.999999])
def test_truncated_pickle(tensors: Tensors, tmp_path: Path, share: float, zipped: bool) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"state_dict": tensors}, whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    assert "damaged" in error_of(write(tmp_path / "cut.pth", content[: int(len(content) * share)])).message


# --- code in a pickle -----------------------------------------------------------------------------


class Payload:
    """Unpickling this touches a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


PICKLERS: dict[str, Callable[[Any, Path], None]] = {
    "archive": lambda content, path: torch.save(content, path),
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    **{
        f"plain pickle, protocol {protocol}": lambda content, path, protocol=protocol: path.write_bytes(
            pickle.dumps(content, protocol)
        )
        for protocol in range(6)
    },
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("pickler", PICKLERS)
def test_code_in_a_pickle_never_runs(tmp_path: Path, pickler: str) -> None:
    target, path = tmp_path / "touched", tmp_path / "model.pth"
    content = {"epoch": 3, "args": Payload(target), "state_dict": {"stem.0.conv_kxk.0.conv.weight": torch.zeros(2)}}
    PICKLERS[pickler](content, path)
    error = error_of(path)
    assert not target.exists()
    if not pickler.endswith(("0", "1")):  # these begin like a text file and are not even parsed
        assert "nothing in it was run" in error.message
    # The payload is live: unpickling the same bytes without protection runs it.
    if pickler == "archive":
        torch.load(path, weights_only=False)
        assert target.exists()


def test_a_pickled_network_is_refused(network: FastViT, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "whole.pth")
    error = error_of(tmp_path / "whole.pth")
    assert "asks to run code" in error.message
    assert "state dict" in error.hint


# --- weights of something else, or incomplete ones ------------------------------------------------


def test_other_architecture(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    error = error_of(path)
    assert "is no FastViT: 122 tensors, the first named conv1.weight" in error.message
    assert "sa24" in error.hint


def test_a_relative_that_is_not_of_the_family(tensors: Tensors, tmp_path: Path) -> None:
    """The right names, but a depth that no variant has."""
    extra = {k.replace("blocks.1", "blocks.2"): v for k, v in tensors.items() if k.startswith("stages.0.blocks.1.")}
    torch.save(tensors | extra, tmp_path / "deep.pth")
    assert "is no FastViT" in error_of(tmp_path / "deep.pth").message


KEY = "stages.2.blocks.3.mlp.fc2.weight"


def break_one(change: Callable[[Tensors], Any]) -> Callable[[Tensors, Path], Path]:
    def broken(tensors: Tensors, folder: Path) -> Path:
        change(tensors)
        torch.save(tensors, folder / "broken.pth")
        return folder / "broken.pth"

    return broken


def test_missing_tensor(tensors: Tensors, tmp_path: Path) -> None:
    error = error_of(break_one(lambda t: t.pop(KEY))(tensors, tmp_path))
    assert f"1 keys differ: {KEY} is missing." in error.message
    assert "fastvit_t8, timm names, unfused, 4 classes" in error.message


def test_missing_layers_are_counted(tensors: Tensors, tmp_path: Path) -> None:
    def without_final(tensors: Tensors) -> None:
        for key in [key for key in tensors if key.startswith("final_conv.")]:
            del tensors[key]

    message = error_of(break_one(without_final)(tensors, tmp_path)).message
    assert "14 keys differ" in message
    assert message.count("final_conv.") == 3, "only the first three are named"
    assert message.endswith(", ….")


def test_additional_tensor(tensors: Tensors, tmp_path: Path) -> None:
    error = error_of(break_one(lambda t: t.update({"stem.9.weight": torch.zeros(1)}))(tensors, tmp_path))
    assert "stem.9.weight is not part of it" in error.message


def test_wrong_shape(tensors: Tensors, tmp_path: Path) -> None:
    error = error_of(break_one(lambda t: t.update({KEY: torch.zeros(192, 575, 1, 1)}))(tensors, tmp_path))
    assert f"{KEY} is 192x575x1x1, not 192x576x1x1" in error.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head.fc.weight", torch.tensor(1.0)),
        ("head.fc.weight", torch.zeros(4)),
        ("head.fc.weight", torch.zeros(5, 768)),
        ("head.fc.weight", torch.zeros(0, 768)),
        ("stages.0.blocks.0.mlp.fc1.weight", torch.zeros(144, 0, 1, 1)),
        ("stages.0.blocks.0.mlp.fc1.weight", torch.zeros(144, 48)),
        ("stem.0.conv_kxk.0.bn.num_batches_tracked", torch.zeros(2)),
    ],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value.shape)) or "scalar",
)
def test_degenerate_shapes(tensors: Tensors, tmp_path: Path, key: str, value: Tensor) -> None:
    """Those that detection itself looks at."""
    error_of(break_one(lambda t: t.update({key: value}))(tensors, tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_not_finite(tensors: Tensors, tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    weight = tensors[KEY].clone().to(dtype)
    weight[17, 3] = value
    error = error_of(break_one(lambda t: t.update({KEY: weight}))(tensors, tmp_path))
    assert f"NaN or Inf in 1 of its {len(tensors)} tensors, first in {KEY}" in error.message
    assert "diverged" in error.hint


def test_integers_for_weights(tensors: Tensors, tmp_path: Path) -> None:
    """A quantised file without its scales would load as nonsense."""
    error = error_of(break_one(lambda t: t.update({KEY: tensors[KEY].char()}))(tensors, tmp_path))
    assert f"int8 numbers in {KEY}" in error.message


def test_mixed_names(tensors: Tensors, tmp_path: Path) -> None:
    assert (
        "not part of it"
        in error_of(
            break_one(lambda t: t.update({"patch_embed.0.rbr_conv.0.conv.weight": torch.zeros(1)}))(tensors, tmp_path)
        ).message
    )


@pytest.mark.parametrize("fusion", [reparameterize, fuse_all])
def test_incomplete_fused_file(network: FastViT, tmp_path: Path, fusion: Callable[[FastViT], FastViT]) -> None:
    tensors = fusion(network).state_dict()
    del tensors["final_conv.reparam_conv.bias"]
    torch.save(tensors, tmp_path / "fused.pth")
    assert "1 keys differ: final_conv.reparam_conv.bias is missing." in error_of(tmp_path / "fused.pth").message


# --- telling formats apart ------------------------------------------------------------------------


@pytest.mark.parametrize("low_byte", [0x80, 0x20])
def test_safetensors_whose_length_looks_like_another_format(tensors: Tensors, tmp_path: Path, low_byte: int) -> None:
    """The first bytes are the header's length: 0x80 also begins a pickle, and 0x20 0x3C reads " <", a web page."""
    path = tmp_path / "t8.safetensors"
    save_file(tensors, path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    wanted = low_byte + (0x3C00 if low_byte == 0x20 else 0)
    step = 1 << (16 if low_byte == 0x20 else 8)
    padded = length + (wanted - length) % step
    path.write_bytes(struct.pack("<Q", padded) + content[8 : 8 + length].ljust(padded) + content[8 + length :])
    assert path.read_bytes()[0] == low_byte
    assert load_checkpoint(path).layout.variant.name == "t8"
