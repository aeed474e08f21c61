"""What a run reports, as points of curves: to TensorBoard where it is installed, to Weights & Biases on request."""

import contextlib
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.errors import FastViTError, first_line
from fastvit_cli.training.events import EpochDone, RunStarted, StepDone, TrainEvent
from fastvit_cli.training.resolve_options import recipe_of
from fastvit_cli.training.train_options import TrainConfig

_POINTS_AN_EPOCH = 50  # of what changes with each step
_WANDB_ID = "wandb_id.txt"


class CurveWriter(Protocol):
    """Where points go. Their place is the number of updates made, of all epochs."""

    name: str

    def start(self, run_dir: Path, updates: int) -> None:
        """Begin, or go on after so many updates: what a process that died wrote beyond them counts no more."""

    def write(self, points: dict[str, float], updates: int) -> None:
        """Add a point to each of these curves."""

    def close(self) -> None:
        """Write out all that is left."""


class MetricLogs:
    """Listens to a run and passes its figures on.

    Args:
        on_lost: told of each writer that fails, such as by a connection that broke; it gets nothing any more, and the
            run goes on.
    """

    def __init__(self, writers: tuple[CurveWriter, ...], on_lost: Callable[[str], None] = lambda _: None) -> None:
        self._writers = writers
        self._on_lost = on_lost
        self._steps = 1
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, event: TrainEvent) -> None:
        if isinstance(event, RunStarted):
            self._close()  # it starts again after it was out of memory
            self._steps, self._started = event.steps_per_epoch, True
            before = len(event.history) * event.steps_per_epoch + event.resumed_step
            self._each(lambda writer: writer.start(event.run_dir, before))
        elif isinstance(event, StepDone):
            if event.step % max(1, event.steps // _POINTS_AN_EPOCH) == 0 or event.step == event.steps:
                self._write(_of_step(event), (event.epoch - 1) * event.steps + event.step)
        elif isinstance(event, EpochDone):
            self._write(_of_epoch(event), event.epoch * self._steps)

    def _write(self, points: dict[str, float], updates: int) -> None:
        self._each(lambda writer: writer.write(points, updates))

    def _close(self) -> None:
        if self._started:
            self._each(lambda writer: writer.close())
        self._started = False

    def _each(self, act: Callable[[CurveWriter], None]) -> None:
        for writer in self._writers:
            try:
                act(writer)
            except Exception as error:  # of any service and file system
                self._writers = tuple(other for other in self._writers if other is not writer)
                self._on_lost(f"{writer.name} failed and gets no more points: {first_line(error)}")


def _of_step(event: StepDone) -> dict[str, float]:
    return {
        "train/loss": event.loss,
        "train/top1": event.top1,
        "train/lr": event.lr,
        "speed/images_per_second": event.images_per_second,
        "speed/data_wait": event.data_wait,
        **({} if event.memory_mb is None else {"speed/memory_mb": event.memory_mb}),
    }


def _of_epoch(event: EpochDone) -> dict[str, float]:
    return {"val/loss": event.val_loss, "val/top1": event.val_top1, "val/top5": event.val_top5}


class TensorBoard:
    """An event file in the run folder for each process that worked on the run.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    name = "TensorBoard"

    def __init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._class = SummaryWriter
        self._writer: Any = None

    def start(self, run_dir: Path, updates: int) -> None:
        self._writer = self._class(str(run_dir), purge_step=updates + 1, flush_secs=10)

    def write(self, points: dict[str, float], updates: int) -> None:
        for name, value in points.items():
            self._writer.add_scalar(name, value, updates)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """One run of a project, the same one when it is resumed.

    Args:
        project: its name there.
        config: what the run is shown with.

    Raises:
        FastViTError: the package is not installed.
    """

    name = "Weights & Biases"

    def __init__(self, project: str, config: TrainConfig) -> None:
        try:
            import wandb
        except ImportError as error:
            raise FastViTError(
                "--wandb needs the package wandb, which is not installed.",
                "Type pip install wandb, or leave it out.",
            ) from error
        self._wandb: Any = wandb
        self._project = project
        self._config = config
        self._run: Any = None

    def start(self, run_dir: Path, updates: int) -> None:  # noqa: ARG002  # W&B knows where it was
        self._run = self._wandb.init(
            project=self._project,
            name=run_dir.name,
            id=_run_id(run_dir),
            resume="allow",
            dir=str(run_dir),
            config=recipe_of(self._config),
        )

    def write(self, points: dict[str, float], updates: int) -> None:
        # W&B takes no point before its last one. What a killed process sent ahead of the saved state is kept, and the
        # steps made again until then come to one point; the scores of an epoch are among them, if they were missing.
        self._run.log(points, step=max(updates, self._run.step))

    def close(self) -> None:
        self._run.finish()


def _run_id(run_dir: Path) -> str:
    """The name that the run keeps over there, wherever its folder is moved to."""
    path = run_dir / _WANDB_ID
    if not path.is_file():
        with replaced_when_done(path) as temporary:
            temporary.write_text(uuid.uuid4().hex[:12])
    return path.read_text().strip()


def metric_logs(config: TrainConfig, on_lost: Callable[[str], None]) -> MetricLogs:
    """All that a run's figures go to; see `MetricLogs`.

    Raises:
        FastViTError: Weights & Biases is asked for and not installed.
    """
    writers: list[CurveWriter] = []
    if config.wandb is not None:
        writers.append(WeightsAndBiases(config.wandb, config))
    with contextlib.suppress(ImportError):  # it is an extra
        writers.append(TensorBoard())
    return MetricLogs(tuple(writers), on_lost)
