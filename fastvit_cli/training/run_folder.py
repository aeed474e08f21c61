"""What a run leaves behind: config.yaml, metrics.csv, log.txt, best and last weights, state.pt."""

import contextlib
import csv
import itertools
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.checkpoints.select import BEST, CONFIG, LAST, RUNS
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.network import FastViT
from fastvit_cli.names import ODD
from fastvit_cli.training.events import EpochDone
from fastvit_cli.training.ownership import owned
from fastvit_cli.training.resolve_options import config_to_yaml
from fastvit_cli.training.state_file import read_state, write_state
from fastvit_cli.training.train_options import TrainConfig

METRICS, LOG, STATE, CURVES = "metrics.csv", "log.txt", "state.pt", "curves.png"
_EPOCH = "epoch"  # how a line of the log begins that says so
_WRITTEN = (CONFIG, BEST, LAST, STATE, METRICS, LOG, CURVES)


class RunFolder:
    """Paths of one run, and writing them.

    Args:
        writes: whether this process does; of several only the main one.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.best = path / BEST
        self.last = path / LAST
        self.state = path / STATE

    def owned(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from training the run meanwhile; of several processes of one run the main one does.

        Raises:
            FastViTError: another process trains it, or the folder cannot be written.
        """
        return owned(self.path) if self.writes else contextlib.nullcontext()

    def save_epoch(
        self, weights: FastViT, info: ModelInfo, history: Sequence[EpochDone], state: Mapping[str, Any]
    ) -> None:
        """Write everything down after an epoch; `best` only when it is, and then exactly the scored weights."""
        if not self.writes:
            return
        row = history[-1]
        if row.is_best:
            self.write_best(weights, info, history)
        self.write_last(weights, info, len(history), row.val_top1)
        self.write_metrics(history)
        # Last: a run that is killed before repeats the epoch's end, to the same files.
        self.write_state(state)
        self.log(
            f"{_EPOCH} {row.epoch}/{row.epochs} lr {row.lr:.2e} train loss {row.train_loss:.4f} "
            f"val loss {row.val_loss:.4f} top-1 {row.val_top1:.2f} top-5 {row.val_top5:.2f} "
            f"{row.images_per_second:.0f} images/s{' best' if row.is_best else ''}"
        )

    def save_mid_epoch(
        self, weights: FastViT, info: ModelInfo, finished_epochs: int, state: Mapping[str, Any]
    ) -> None:
        """Write all that `--resume` needs in the middle of an epoch, where the weights have no score."""
        if not self.writes:
            return
        self.write_last(weights, info, finished_epochs, None)
        self.write_state(state)

    def write_best(self, weights: FastViT, info: ModelInfo, history: Sequence[EpochDone]) -> None:
        """Write the weights that were scored last as the best ones."""
        if self.writes:
            save_checkpoint(self.best, weights, replace(info, epoch=history[-1].epoch, top1=history[-1].val_top1))

    def write_last(self, weights: FastViT, info: ModelInfo, finished_epochs: int, top1: float | None) -> None:
        """Write the weights as they are now, with their score where they have one."""
        if self.writes:
            save_checkpoint(self.last, weights, replace(info, epoch=finished_epochs, top1=top1))

    def record_change(self, config: TrainConfig, why: str) -> None:
        """Note what a run goes on with: some options may have changed. What a kill -9 left half-written goes."""
        if not self.writes:
            return
        for name in _WRITTEN:
            for half in self.path.glob(f".{name}.*"):
                half.unlink(missing_ok=True)
        with replaced_when_done(self.path / CONFIG) as temporary:
            temporary.write_text(config_to_yaml(config))
        self.log(why)

    def log(self, line: str) -> None:
        """Add a line with the time to log.txt.

        Raises:
            FastViTError: the file cannot be written.
        """
        if not self.writes:
            return
        path, way_on = self.path / LOG, "Mend that and go on with --resume: what was saved before is still there."
        if path.exists() and not path.is_file():  # a pipe would wait for a reader
            raise FastViTError(f"'{path}' is no file.", way_on)
        try:
            with path.open("a", encoding="utf-8", errors=ODD) as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        except OSError as error:
            raise FastViTError(f"Writing '{path}' failed ({error.strerror}).", way_on) from error

    @property
    def has_logged_an_epoch(self) -> bool:
        """Whether log.txt says that an epoch was finished and saved."""
        try:
            return f" {_EPOCH} " in (self.path / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False

    @property
    def has_state(self) -> bool:
        """Whether anything was saved before the run ended."""
        return self.state.is_file()

    def remove_unless_saved(self) -> None:
        """Remove what a new run has written, unless there is anything to go on from."""
        if not self.writes or any(path.exists() for path in (self.state, self.best, self.last)):
            return
        for name in (CONFIG, LOG):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder was there before, and holds other things
            self.path.rmdir()

    @property
    def go_on_from_weights(self) -> str:
        """What to do when the state is of no use, as the end of a hint."""
        return f"start a new run from the weights: fastvit train --ckpt {shlex.quote(str(self.path))}"

    def write_metrics(self, history: Sequence[EpochDone]) -> None:
        """One row an epoch; rewritten whole, so that a resumed run has no row twice."""
        if not self.writes:
            return
        with replaced_when_done(self.path / METRICS) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochDone)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in history)

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write all that `--resume` needs."""
        if self.writes:
            write_state(self.state, state)

    def read_state(self) -> dict[str, Any]:
        """What `Trainer.state` gave when it was last saved; there is one where `has_state`.

        Raises:
            FastViTError: the file is damaged, of an earlier version, or cannot be read.
        """
        return read_state(self.state, self.go_on_from_weights)


def check_space(folder: Path, needed: int) -> None:
    """Refuse a folder whose disk has fewer than `needed` bytes left.

    Raises:
        FastViTError: the disk that will hold `folder` has fewer than `needed` bytes left.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise FastViTError(
            f"The run needs about {needed / 1e6:.0f} MB in '{folder}', and the disk has {free / 1e6:.0f} MB left.",
            "Free some space, or pass --output with a folder on another disk.",
        )


def create_run_folder(config: TrainConfig, needed: int, world: World = ALONE) -> RunFolder:
    """Make the folder and write its config.yaml; of several processes, the main one does.

    Args:
        needed: bytes that the run will write.

    Raises:
        FastViTError: it holds a run, or files named like those of one, already; it cannot be written, or there is too
            little space.
    """
    output = Path(config.output).expanduser() if config.output else None
    if not world.is_main:  # its name is not used: nothing is read from a new run
        return RunFolder(output or next(_unused_names(config.variant)), writes=False)
    check_space(output or RUNS, needed)
    try:
        path = _claimed_new(config.variant) if output is None else _claimed(output)
    except OSError as error:
        raise FastViTError(
            f"Cannot write to '{output or RUNS}' ({error.strerror}).", "Pass --output with a folder you may write."
        ) from error
    with replaced_when_done(path / CONFIG) as temporary:
        temporary.write_text(config_to_yaml(config))
    return RunFolder(path)


def _claimed(path: Path) -> Path:
    """The folder of that name, which holds no run, and which no other run that begins now can take.

    Raises:
        FastViTError: it holds what a run writes.
        OSError: it cannot be written.
    """
    there = [name for name in _WRITTEN if (path / name).exists()]
    if there and CONFIG not in there:
        raise FastViTError(
            f"'{path}' holds {' and '.join(there)} already, which the run would replace.", "Pass another --output."
        )
    path.mkdir(parents=True, exist_ok=True)
    try:
        (path / CONFIG).touch(exist_ok=False)
    except FileExistsError as error:
        raise FastViTError(f"'{path}' holds a run already.", f"Pass another --output, or --resume {path}.") from error
    return path


def _claimed_new(variant: str) -> Path:
    """A new folder, which no other run that begins in the same second has taken.

    Raises:
        OSError: it cannot be made.
    """
    for path in _unused_names(variant):
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("the names are endless")


def _unused_names(variant: str) -> Iterator[Path]:
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{variant.removeprefix('fastvit_')}"
    names = (stem if count == 0 else f"{stem}-{count}" for count in itertools.count())
    return (path for name in names if not (path := RUNS / "train" / name).exists())
