"""A training run as it is watched, and its end."""

import math
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from fastvit_cli.data.deep_images import deep_words
from fastvit_cli.training.events import (
    BatchHalved,
    BatchSizeFound,
    BatchSizeTried,
    DeepImagesRead,
    EpochDone,
    FeaturesProgress,
    ImagesListed,
    ImageUnreadable,
    RunStarted,
    StepDone,
    TimeEstimated,
    TrainEvent,
    UpdateSkipped,
    ValidationProgress,
)
from fastvit_cli.training.run_folder import CURVES
from fastvit_cli.training.stopping import Stop
from fastvit_cli.training.train import TrainResult
from fastvit_cli.ui.plots import plot_curves
from fastvit_cli.ui.session import Session
from fastvit_cli.ui.tables import data_table, duration, facts, next_commands, size


class TrainingView:
    """Listens to a run: bars on a terminal, one line an epoch anywhere, curves.png every few seconds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run_dir = Path()
        self._history: list[EpochDone] = []
        self._progress: Progress | None = None
        self._epochs = self._steps = TaskID(0)
        self._workers = 0
        self._wait_was_said = self._listing_was_said = False
        self._listing_since: float | None = None
        self._unreadable_said = 0
        self._memory_mb: float | None = None
        self._plotted_epochs, self._plotted_at = 0, -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._plot()

    def _plot(self) -> None:
        """Draw the curves of the epochs that are new since the last time."""
        if len(self._history) > self._plotted_epochs:
            plot_curves(self._history, self._run_dir / CURVES)
            self._plotted_epochs, self._plotted_at = len(self._history), time.monotonic()

    def __call__(self, event: TrainEvent) -> None:
        handlers: dict[type, Callable[[TrainEvent], None]] = {
            ImagesListed: self._listed,
            BatchHalved: self._halved,
            BatchSizeTried: self._tried,
            BatchSizeFound: self._found,
            RunStarted: self._started,
            TimeEstimated: self._estimated,
            StepDone: self._step,
            ValidationProgress: self._validation,
            FeaturesProgress: self._features,
            ImageUnreadable: self._unreadable,
            DeepImagesRead: self._deep,
            UpdateSkipped: self._skipped,
            EpochDone: self._epoch,
        }
        handlers[type(event)](event)

    def _listed(self, event: TrainEvent) -> None:
        assert isinstance(event, ImagesListed)
        self._listing_since = self._listing_since or time.monotonic()
        if not self._listing_was_said and time.monotonic() - self._listing_since > _LONG_LISTING_S:
            self._listing_was_said = True
            self._session.note(f"Listing the images, {event.classes:,} of {event.total:,} classes so far …")

    def _halved(self, event: TrainEvent) -> None:
        assert isinstance(event, BatchHalved)
        if self._progress is not None:
            self._progress.stop()
        self._session.note(
            f"The device is out of memory: starting again with {event.batch_size} images at once, "
            f"{event.accumulation} times an update.",
            style="yellow",
        )

    def _tried(self, event: TrainEvent) -> None:
        assert isinstance(event, BatchSizeTried)
        self._session.note(
            f"Batch size {event.batch_size:>5} {'fits' if event.fits else 'does not fit'}", style="dim"
        )

    def _found(self, event: TrainEvent) -> None:
        assert isinstance(event, BatchSizeFound)
        self._listing_since = None  # all is built again
        why = "the largest that fits" if event.of_memory else "it fits, and a larger one is of no use"
        times = f", {event.accumulation} times an update" if event.accumulation > 1 else ""
        self._session.note(f"--batch-size auto: {event.batch_size} images at once{times} ({why}).")

    def _started(self, event: TrainEvent) -> None:
        assert isinstance(event, RunStarted)
        self._run_dir = event.run_dir
        self._history = list(event.history)
        self._workers = event.workers
        if event.history or event.resumed_step:
            within = f", at step {event.resumed_step + 1} of the next" if event.resumed_step else ""
            self._session.note(f"Going on after epoch {len(event.history)} of {event.epochs}{within}.")
        for note in event.notes:
            self._session.note(note)
        self._session.stderr.print(
            facts(
                [
                    ("model", f"fastvit_{event.variant}, {event.parameters / 1e6:.1f} M parameters"),
                    ("images", f"{event.train_images:,} to train, {event.val_images:,} to validate"),
                    ("classes", f"{event.classes}, seen at {event.img_size} px"),
                    (
                        "steps",
                        f"{event.epochs} epochs of {event.steps_per_epoch} steps of {_images(event)}",
                    ),
                    ("device", event.device),
                    ("run", str(event.run_dir)),
                ]
            )
        )
        if self._session.live:
            self._progress = Progress(
                TextColumn("{task.description}", justify="left"),
                BarColumn(bar_width=24 if self._session.stderr.width >= _WIDE else 12),
                TextColumn("{task.fields[text]}"),
                console=self._session.stderr,
                transient=True,
            )
            self._epochs = self._progress.add_task("run", total=float(event.epochs), text="")
            self._steps = self._progress.add_task("epoch", total=event.steps_per_epoch, text="")
            self._progress.update(self._epochs, completed=len(event.history))
            self._progress.start()
        self._session.stderr.print(Text(_HEADER, style="dim"), soft_wrap=True)

    def _estimated(self, event: TrainEvent) -> None:
        assert isinstance(event, TimeEstimated)
        text = (
            f"At this speed the whole run takes about {duration(event.seconds)}{_memory(self._memory_mb, ', with ')}."
        )
        self._session.note(text, style="dim")

    def _step(self, event: TrainEvent) -> None:
        assert isinstance(event, StepDone)
        self._memory_mb = event.memory_mb
        if self._progress is None:
            return
        done = event.epoch - 1 + event.step / event.steps
        self._progress.update(
            self._epochs,
            completed=done,
            text=f"{duration(event.seconds_left)} left  lr {event.lr:.2e}{_memory(event.memory_mb)}",
        )
        self._progress.update(
            self._steps,
            description=f"epoch {event.epoch}",
            total=event.steps,
            completed=event.step,
            text=f"loss {event.loss:.3f}  top-1 {event.top1:.1f}  {event.images_per_second:.0f} images/s  "
            f"wait {100 * event.data_wait:.0f} %",
        )

    def _unreadable(self, event: TrainEvent) -> None:
        assert isinstance(event, ImageUnreadable)
        self._unreadable_said += 1
        if self._unreadable_said <= _SAID_UNREADABLE:
            self._session.unreadable(event)
        elif self._unreadable_said == _SAID_UNREADABLE + 1:
            self._session.note("Further ones are only counted; --check-data lists them all.", style="yellow")

    def _deep(self, event: TrainEvent) -> None:
        assert isinstance(event, DeepImagesRead)
        self._session.note(f"Epoch {event.epoch} read {deep_words(event.counts)}.")

    def _skipped(self, event: TrainEvent) -> None:
        assert isinstance(event, UpdateSkipped)
        self._session.note(
            f"Epoch {event.epoch}, step {event.step}: the loss is not finite, this update is left out.",
            style="yellow",
        )

    def _validation(self, event: TrainEvent) -> None:
        assert isinstance(event, ValidationProgress)
        if self._progress is not None:
            self._progress.update(
                self._steps, description="validate", total=event.total, completed=event.done, text=""
            )

    def _features(self, event: TrainEvent) -> None:
        assert isinstance(event, FeaturesProgress)
        if self._progress is not None:
            of = f", view {event.view} of {event.views}" if event.views > 1 else ""
            text = f"images of {event.split} through the frozen backbone{of}"
            self._progress.update(
                self._steps, description="features", total=event.total, completed=event.done, text=text
            )

    def _epoch(self, event: TrainEvent) -> None:
        assert isinstance(event, EpochDone)
        self._history.append(event)
        line = (
            f"{event.epoch:>4}/{event.epochs:<4} {event.train_loss:>10.4f} {event.val_loss:>8.4f} "
            f"{event.val_top1:>7.2f} {event.val_top5:>7.2f} {event.images_per_second:>8.0f} "
            f"{100 * event.data_wait:>6.0f} {duration(event.seconds):>11}{'  best' if event.is_best else ''}"
        )
        self._session.stderr.print(Text(line, style="green" if event.is_best else ""), soft_wrap=True)
        if event.unreadable:
            self._session.note(f"{event.unreadable:,} unreadable images so far.", style="yellow")
        # The first epoch also waits for the worker processes to start.
        if event.data_wait > _LONG_WAIT and event.epoch > 1 and not self._wait_was_said:
            self._wait_was_said = True
            self._session.note(_wait_hint(event.data_wait, self._workers), style="yellow")
        if time.monotonic() - self._plotted_at > _BETWEEN_PLOTS_S:
            self._plot()


_HEADER = (
    f"{'epoch':<9} {'train loss':>10} {'val loss':>8} {'top-1 %':>7} {'top-5 %':>7} {'images/s':>8} {'wait %':>6} "
    f"{'time':>11}"
)
_LONG_WAIT = 0.2  # of an epoch
_LONG_LISTING_S = 3.0
_BETWEEN_PLOTS_S = 5.0  # a drawing takes longer than an epoch of kept features
_WIDE = 100  # columns from which there is room for long bars
_SAID_UNREADABLE = 20


def _images(event: RunStarted) -> str:
    processes = f"{event.processes} processes x " if event.processes > 1 else ""
    accumulation = f"{event.accumulation} x " if event.accumulation > 1 else ""
    if not processes + accumulation:
        return f"{event.batch_size} images"
    total = event.batch_size * event.accumulation * event.processes
    return f"{total} images ({processes}{accumulation}{event.batch_size})"


def _at_most(mebibytes: float | None) -> str:
    return "–" if mebibytes is None else f"at most {size(round(mebibytes * 2**20))}"


def _memory(mebibytes: float | None, before: str = "  ") -> str:
    """The most memory that was held; empty where it is not known."""
    return "" if mebibytes is None else f"{before}{size(round(mebibytes * 2**20))} of memory"


def _wait_hint(share: float, workers: int) -> str:
    waited = f"{100 * share:.0f} % of the time went into waiting for images"
    if workers == 0:
        return f"{waited}: with --workers 1 or more they are read while the network trains."
    return f"{waited}: try more --workers than {workers}, smaller image files, or a faster disk."


_TITLES = {
    None: "Done",
    Stop.INTERRUPTED: "Interrupted; everything up to here is saved",
    Stop.TERMINATED: "Terminated; everything up to here is saved",
    Stop.TIME_LIMIT: "The time limit is reached; everything up to here is saved",
    Stop.OUTPUT_CLOSED: "Nobody reads the output any more; everything up to here is saved",
    Stop.PATIENCE: "Ended early: top-1 has not become better for as long as --patience allows",
}


def training_result(result: TrainResult) -> RenderableType:
    """The end of a run: what was reached, the best epochs, what to type next."""
    if result.best_ckpt is None:
        when = "next" if result.epochs else "first"
        return Group(
            facts([("stopped", f"before the {when} epoch was finished"), ("weights", str(result.last_ckpt))]),
            next_commands([f"fastvit train --resume {shlex.quote(str(result.run_dir))}"]),
        )
    speed = f", {result.images_per_second:.0f} images/s in training" if result.images_per_second else ""
    summary = facts(
        [
            ("best", Text(f"top-1 {result.top1:.2f} %  in epoch {result.best_epoch}", style="bold")),
            ("time", f"{duration(result.seconds)}{speed}"),
            ("memory", _at_most(result.history[-1].memory_mb)),
            ("weights", str(result.best_ckpt)),
            ("curves", str(result.run_dir / CURVES)),
        ],
        title=_TITLES[result.stopped],
    )
    ranked = sorted(result.history, key=lambda row: (-row.val_top1, row.val_loss))[:3]
    table = data_table(
        ("best epochs", "top-1 %", "top-5 %", "val loss"),
        [(str(row.epoch), f"{row.val_top1:.2f}", f"{row.val_top5:.2f}", f"{row.val_loss:.4f}") for row in ranked],
    )
    run = shlex.quote(str(result.run_dir))
    commands = [
        f"fastvit validate --ckpt {run}",
        *(() if result.fused else (f"fastvit reparam --ckpt {run}",)),
        f"fastvit export --ckpt {run} --format coreml",
        f"fastvit export --ckpt {run} --format onnx",
        f"fastvit bench --ckpt {run}",
    ]
    if result.stopped not in (None, Stop.PATIENCE):
        commands.insert(0, f"fastvit train --resume {run}")
    said = [Text(remark, style="yellow") for remark in result.remarks]
    return Group(summary, table, *said, *([Text()] if said else []), next_commands(commands))
