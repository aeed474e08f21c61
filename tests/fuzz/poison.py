"""Cases of files that ask to run code, and the commands that open them. None of them may run it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from fuzz.bases import CHECKPOINT, EXPORT, STATE, Base
from fuzz.pickles import poison_archive, write_pickle, write_script
from fuzz.targets import run_program

Bases = Mapping[tuple[str, str], Base]
Make = Callable[[Path, Path, Bases, random.Random], Path]

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".safetensors", ".pkl", ".tar", ".npy", "")


def _file(folder: Path, canary: Path, _bases: Bases, rng: random.Random) -> Path:
    path = folder / f"model{rng.choice(SUFFIXES)}"
    write_pickle(path, canary, rng)
    return path


def _exported(folder: Path, canary: Path, _bases: Bases, rng: random.Random) -> Path:
    """Named as an export, whatever is in it."""
    path = folder / f"model{rng.choice(('.pt2', '.torchscript', '.onnx', '.xml'))}"
    write_pickle(path, canary, rng)
    return path


def _poisoned_checkpoint(folder: Path, canary: Path, bases: Bases, rng: random.Random) -> Path:
    path = Path(shutil.copy(bases[CHECKPOINT, "torch, state_dict"].path, folder / "model.pth.tar"))
    poison_archive(path, canary, rng)
    return path


def _poisoned_program(folder: Path, canary: Path, bases: Bases, rng: random.Random) -> Path:
    """An export of torch.export or TorchScript, with code in the pickles of it."""
    there = [name for name in ("pt2", "torchscript") if (EXPORT, name) in bases]
    name = rng.choice(there)
    path = Path(shutil.copy(bases[EXPORT, name].path / f"a.{name}", folder / f"model.{name}"))
    poison_archive(path, canary, rng)
    return path


def _script(folder: Path, canary: Path, bases: Bases, _rng: random.Random) -> Path:
    from fastvit_cli.checkpoints.load import load_checkpoint

    info = load_checkpoint(bases[CHECKPOINT, "ours"].path).info
    path = folder / "model.torchscript"
    write_script(path, canary, info.to_json())
    return path


def _folder_of(make: Make) -> Make:
    """A whole checkpoint with the file beside it, named by their folder."""

    def made(folder: Path, canary: Path, bases: Bases, rng: random.Random) -> Path:
        models = folder / "models"
        models.mkdir()
        shutil.copy(bases[CHECKPOINT, "ours"].path, models / "whole.safetensors")
        make(models, canary, bases, rng)
        return models

    return made


def _open(command: str) -> Callable[[Path, Path], None]:
    def opened(path: Path, data: Path) -> None:
        small = ("--data", str(data), "--workers", "0")
        words = {
            "validate": ("validate", "--ckpt", str(path), *small),
            "predict": ("predict", "--ckpt", str(path), str(data / "val" / "star")),
            "reparam": ("reparam", "--ckpt", str(path)),
            "export": ("export", "--ckpt", str(path), "--format", "torchscript"),
            "bench": ("bench", "--ckpt", str(path), "--img-size", "32"),
            "train": ("train", "--ckpt", str(path), *small, "--dry-run"),
            "teacher": ("train", "--variant", "t8", "--teacher", str(path), *small, "--dry-run", "--img-size", "32"),
        }[command]
        run_program(list(words))

    return opened


def _run(make: Make) -> Make:
    """A run folder whose state or weights are the file."""

    def made(folder: Path, canary: Path, bases: Bases, rng: random.Random) -> Path:
        run = Path(shutil.copytree(bases[STATE, "run"].path, folder / "run"))
        target = run / rng.choice(("state.pt", "state.pt", "last.safetensors", "best.safetensors"))
        if rng.random() < 0.4 and target.name == "state.pt":
            poison_archive(target, canary, rng)
        else:
            shutil.move(make(folder, canary, bases, rng), target)
        return run

    return made


def _resume(path: Path, _data: Path) -> None:
    run_program(["train", "--resume", str(path), "--epochs", "2", "--time-limit", "60"])


COMMANDS = ("validate", "predict", "reparam", "export", "bench", "train", "teacher")
POISONS: dict[str, tuple[Make, Callable[[Path, Path], None]]] = {
    **{f"a file, {command}": (_file, _open(command)) for command in COMMANDS},
    **{f"a poisoned checkpoint, {command}": (_poisoned_checkpoint, _open(command)) for command in COMMANDS},
    **{f"named as an export, {command}": (_exported, _open(command)) for command in COMMANDS},
    **{f"a poisoned program, {command}": (_poisoned_program, _open(command)) for command in COMMANDS},
    **{f"TorchScript that writes, {command}": (_script, _open(command)) for command in COMMANDS},
    "a folder with a poisoned program, validate": (_folder_of(_poisoned_program), _open("validate")),
    "a folder with TorchScript, validate": (_folder_of(_script), _open("validate")),
    "a folder with a file, validate": (_folder_of(_file), _open("validate")),
    "a folder with an export, predict": (_folder_of(_exported), _open("predict")),
    "a run": (_run(_file), _resume),
    "a run again": (_run(_file), _resume),
    "a run once more": (_run(_file), _resume),
}
