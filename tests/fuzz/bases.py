"""The whole files that cases change: checkpoints, a run, its config.yaml and exports, made by the program itself."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from fuzz import targets
from fuzz.archives import without_checksums
from fuzz.exports import FILES, STEM, opened, with_side_file
from fuzz.mutations import CRC, NO_SEAL, OWN
from helpers.exports import exported_to
from helpers.loaded import tiny_model
from helpers.tiny_data import TINY_CLASSES, draw_tiny_data

CHECKPOINT, STATE, CONFIG, RESUMED, EXPORT, PICKLE = (
    "checkpoint",
    "state",
    "config",
    "config of a run",
    "export",
    "pickle",
)
KINDS = (CHECKPOINT, STATE, CONFIG, RESUMED, EXPORT, PICKLE)
LIBRARY, COMMAND, PROCESS = "library", "command", "process"
"""How a file is opened: by the library, by a command in the worker, by a command in a process of its own."""

_DEFAULT_FORMATS = {"onnx with side file": "onnx"}


@dataclass(frozen=True)
class Base:
    """A file or folder before it is changed.

    Attributes:
        seal: what tells of a change to it, one of `mutations.CRC`, `OWN`, `NO_SEAL`.
        whole: what the program finds in it unchanged, by the way it is opened.
    """

    kind: str
    name: str
    path: Path
    seal: str
    whole: dict[str, targets.Contents] = field(default_factory=dict)


def look(base: Base, path: Path, data: Path, way: str) -> targets.Contents:
    """Open `path`, which was copied from the base, as its kind is opened.

    Raises:
        FastViTError: the program refused it.
        InternalError: it answered otherwise than it promises.
    """
    process = way == PROCESS
    if base.kind == CHECKPOINT:
        return targets.open_checkpoint(path) if way == LIBRARY else targets.score(path, data, process=process)
    if base.kind == CONFIG:
        return targets.plan(path, process=process)
    if base.kind in (STATE, RESUMED):
        return targets.resume(path, process=process)
    if way == LIBRARY:
        return targets.open_export(path, base.name)
    return targets.score(path / opened(base.name), data, process=process)


def copied(base: Base, folder: Path) -> Path:
    """A copy of the base, in a folder of its own."""
    target = folder / base.path.name
    if base.path.is_dir():
        shutil.copytree(base.path, target)
    else:
        shutil.copy(base.path, target)
    return target


def build(work: Path, formats: Iterable[str], needed: Collection[tuple[str, str, str]]) -> list[Base]:
    """Make all of them, and look at each as it is.

    Args:
        formats: those of `exports.FILES` to make.
        needed: kind, name and way of what cases will compare; a process of its own finds what a command finds.

    Raises:
        FastViTError: the program refuses a file that it made, with which no case would prove anything.
    """
    data, run = draw_tiny_data(work / "data"), work / "run"
    _train(run, data)
    bases = _checkpoints(work / "checkpoints", run / "best.safetensors")
    bases += [Base(STATE, "run", run, OWN), Base(CONFIG, "config.yaml", run / "config.yaml", OWN)]
    bases.append(Base(RESUMED, "run", run, OWN))
    for format_ in formats:
        whole = _exported(work / "exports" / format_.replace(" ", "_"), format_)
        bases.append(Base(EXPORT, format_, whole, NO_SEAL if format_ == "onnx with side file" else OWN))
    return [replace(base, whole=_references(base, work, data, needed)) for base in bases]


def _references(
    base: Base, work: Path, data: Path, needed: Collection[tuple[str, str, str]]
) -> dict[str, targets.Contents]:
    found = {}
    for way in [way for way in (LIBRARY, COMMAND) if (base.kind, base.name, way) in needed]:
        folder = work / "reference"
        folder.mkdir()
        found[way] = look(base, copied(base, folder), data, way)
        shutil.rmtree(folder)
    return found


def _train(run: Path, data: Path) -> None:
    """One epoch, and one of two steps of a second."""
    size = ("--img-size", "32", "--batch-size", "12", "--workers", "0")
    words = ("train", "--variant", "t8", "--data", str(data), "--recipe", "demo", *size, "--output", str(run))
    targets.run_program([*words, "--epochs", "1"])
    targets.run_program(["train", "--resume", str(run), "--epochs", "2", "--time-limit", "0"])


def _checkpoints(folder: Path, best: Path) -> list[Base]:
    """One network in the layouts and containers that it is met in."""
    from safetensors.torch import save_file

    from fastvit_cli.checkpoints.layouts import to_reference
    from fastvit_cli.checkpoints.load import load_checkpoint
    from fastvit_cli.checkpoints.save import save_checkpoint
    from fastvit_cli.models.fusion import fuse_all, reparameterize

    folder.mkdir()
    loaded = load_checkpoint(best)
    plain = {name: value.clone() for name, value in loaded.network.state_dict().items()}
    reference = {name: value.clone() for name, value in to_reference(plain, loaded.network.variant).items()}
    trainer = {"epoch": 3, "arch": "fastvit_t8", "args": argparse.Namespace(lr=0.1), "metric": 61.5}

    def ours(name: str, change: Callable[[Any], Any]) -> Path:
        save_checkpoint(folder / name, change(loaded.network), loaded.info)
        return folder / name

    def saved(name: str, content: Any, **options: Any) -> Path:
        torch.save(content, folder / name, **options)
        return folder / name

    half = {name: value.half() if value.is_floating_point() else value for name, value in plain.items()}
    save_file(plain, folder / "timm.safetensors")
    unsealed = saved("no_checksums.pth", plain)
    without_checksums(unsealed)
    return [
        Base(CHECKPOINT, "ours", ours("ours.safetensors", lambda network: network), OWN),
        Base(CHECKPOINT, "ours, fused", ours("fused.safetensors", reparameterize), OWN),
        Base(CHECKPOINT, "ours, all fused", ours("all.safetensors", fuse_all), OWN),
        Base(CHECKPOINT, "bare safetensors", folder / "timm.safetensors", NO_SEAL),
        Base(CHECKPOINT, "torch, state_dict", saved("timm.pth.tar", {"state_dict": plain, **trainer}), CRC),
        Base(CHECKPOINT, "torch, reference", saved("reference.pth", {"state_dict": reference}), CRC),
        Base(CHECKPOINT, "torch, float16", saved("half.pt", half), CRC),
        Base(CHECKPOINT, "torch, no checksums", unsealed, NO_SEAL),
        Base(CHECKPOINT, "old torch", saved("old.pth", plain, _use_new_zipfile_serialization=False), NO_SEAL),
    ]


def _exported(folder: Path, format_: str) -> Path:
    folder.mkdir(parents=True)
    exported_to(tiny_model(class_names=TINY_CLASSES), folder, _DEFAULT_FORMATS.get(format_, format_))
    if format_ == "onnx with side file":
        with_side_file(folder / f"{STEM}.onnx")
    missing = [name for name in FILES[format_] if not (folder / name).is_file()]
    assert not missing, missing
    return folder
