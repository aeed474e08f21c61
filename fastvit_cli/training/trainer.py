"""The epochs of one run: its place in them, what they add up to, and the scores after each."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import torch

from fastvit_cli.data.deep_images import added_up
from fastvit_cli.data.loader import Batch, Loader
from fastvit_cli.devices import peak_memory_mb
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.evaluation.evaluate import evaluate
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.optim.losses import balanced_class_weights
from fastvit_cli.optim.schedules import CosineSchedule, cosine_weight_decay
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.training.estimate import TimeLeft
from fastvit_cli.training.events import (
    DeepImagesRead,
    EpochDone,
    FeaturesProgress,
    ImageUnreadable,
    StepDone,
    TimeEstimated,
    TrainEvent,
    UpdateSkipped,
    ValidationProgress,
    best_of,
)
from fastvit_cli.training.frozen_features import FeatureLoader, HeadRuntime
from fastvit_cli.training.initial_model import Start
from fastvit_cli.training.same_data import TrainedOn
from fastvit_cli.training.teacher import Teacher
from fastvit_cli.training.train_options import CLASS_WEIGHTS, TrainConfig
from fastvit_cli.training.train_step import Outcome, Rates, StepPosition, TrainStep

Listener = Callable[[TrainEvent], None]
_IMAGES_THAT_REPAY_FOLDING = 100  # on two cores t8 was folded in 0.25 s, which 60 images at 256 px saved
MAX_WARMUP = 0.2  # of the run: a recipe's warm-up must not eat a run of few epochs


class Trainer:
    """Where a run is, and what moves it on.

    Attributes:
        epoch, step: the next update, both counted from 0; step equals `steps` while an epoch waits for its scores.
        steps: updates an epoch.
        history: the epochs that are done.
        notes: what its user should know before it begins or goes on.
    """

    def __init__(
        self,
        config: TrainConfig,
        start: Start,
        train_loader: Loader,
        val_loader: Loader,
        device: torch.device,
        teacher: Teacher | None = None,
        world: World = ALONE,
    ) -> None:
        self.config = config
        self.world = world
        self.info = start.info
        self.notes = start.notes
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.device = device
        weights = (
            None
            if config.class_weights == "none"
            else balanced_class_weights(
                train_loader.images.labels.tolist(), start.info.num_classes, CLASS_WEIGHTS[config.class_weights]
            )
        )
        self.train_step = TrainStep(config, start.network, start.info, device, weights, teacher, world)
        self.steps = len(train_loader.images) // config.effective_batch_size
        self.schedule = CosineSchedule(
            peak=config.lr,
            floor=config.min_lr,
            start=min(config.warmup_lr, config.lr),
            warmup_steps=round(min(config.warmup_epochs, MAX_WARMUP * config.epochs) * self.steps),
            total_steps=config.epochs * self.steps,
            cooldown_steps=config.cooldown_epochs * self.steps,
        )
        self.decay_schedule = (
            cosine_weight_decay(config.weight_decay, config.weight_decay_end, config.epochs * self.steps)
            if config.weight_decay_end is not None
            else None
        )
        self.epoch = self.step = 0
        # Of losses and right answers of the epoch so far, added up in the order of the steps: whenever they are read,
        # and wherever the run is resumed, they come to the same.
        self._loss_sum = self._hits = 0.0
        self.history: list[EpochDone] = []
        # Updates that the device may still be at, with their steps; and the steps of those that were found left out.
        self._unread: list[tuple[int, Callable[[], Outcome | None]]] = []
        self._left_out: list[int] = []
        self._deep_were_told = False
        self.time_left = TimeLeft(
            self.steps, config.epochs, len(val_loader.images) / (self.steps * config.effective_batch_size)
        )

    @property
    def trained_on(self) -> TrainedOn:
        """The data, as far as a state is of no use with other data."""
        return TrainedOn(self.train_loader.images.class_names, len(self.train_loader.images))

    @property
    def weights(self) -> FastViT:
        """The weights that are scored and saved: the moving average where there is one."""
        return self.train_step.weights

    def train_epoch(self, on_event: Listener, after_step: Callable[[], None]) -> EpochDone:
        """Train what is left of the epoch and score it.

        Args:
            after_step: called when the state is consistent, after each update and each batch of the validation. What
                it raises ends the epoch, and a later call goes on from there.

        Raises:
            FastViTError: too many images cannot be read.
            WorkFailedError: too many losses are not finite, or all logits.
        """
        self._compute_features(on_event, after_step)
        started, first = time.perf_counter(), self.step
        for done in self._steps_left(on_event):
            on_event(done)
            total = self.time_left.estimate_once()
            if total is not None:
                on_event(TimeEstimated(total))
            after_step()
        trained = time.perf_counter() - started
        row = self._scored(
            on_event, after_step, started, trained, (self.steps - first) * self.config.effective_batch_size
        )
        if first == 0:
            self.time_left.epoch_took(row.seconds)
        self.history.append(row)
        self.epoch, self.step = self.epoch + 1, 0
        self._loss_sum = self._hits = 0.0
        self.train_step.skipped.this_epoch = 0
        return row

    def _compute_features(self, on_event: Listener, after_step: Callable[[], None]) -> None:
        """What a frozen backbone gives for the images of this epoch and of the validation, the first time."""
        for loader, what in ((self.train_loader, "train"), (self.val_loader, "val")):
            if isinstance(loader, FeatureLoader):

                def on_images(done: int, total: int, view: int, views: int = loader.views, split: str = what) -> None:
                    on_event(FeaturesProgress(split, done, total, view, views))
                    after_step()

                loader.compute(self.epoch, on_images)

    def _steps_left(self, on_event: Listener) -> Iterator[StepDone]:
        """Train the rest of the epoch; yields after each update."""
        # A frozen backbone stays as it is: its BatchNorms do not learn from the new images either.
        self.train_step.network.train(not self.config.freeze_backbone)
        first, size = self.step, self.config.accumulation
        loader = self.train_loader.epoch(self.epoch, first_batch=first * size)
        started = time.perf_counter()
        for batches in itertools.islice(_grouped(loader, size), self.steps - first):
            for bad in (bad for batch in batches for bad in batch.unreadable):
                on_event(ImageUnreadable(bad.name, bad.reason))
            done_before = self.epoch * self.steps + self.step
            rates = self._rates(done_before)
            outcome = self.train_step.queue(batches, rates, StepPosition(self.epoch, self.step, done_before))
            self._unread.append((self.step, outcome))
            # The first one of an epoch is waited for, or there would be no loss to show.
            self._read(all_but=1 if self.train_step.runs_ahead and 0 < self.step < self.steps - 1 else 0)
            self._tell_left_out(on_event)
            self.step += 1
            seconds = time.perf_counter() - started
            self.time_left.steps_took(self.step - first, seconds)
            yield self._step_done(rates.lr, self.step - first, seconds)

    def _read(self, all_but: int = 0) -> None:
        """Add up what the updates came to, in their order, but for so many that were queued last."""
        while len(self._unread) > all_but:
            step, read = self._unread.pop(0)
            outcome = read()
            if outcome is None:
                self._left_out.append(step)
            else:
                self._loss_sum += outcome.loss
                self._hits += outcome.hits

    def _tell_left_out(self, on_event: Listener) -> None:
        while self._left_out:
            step = self._left_out.pop(0)
            on_event(UpdateSkipped(self.epoch + 1, step + 1))
            self.train_step.check_skipped(self.epoch, step, self.steps)

    def _rates(self, step: int) -> Rates:
        decay = None if self.decay_schedule is None else self.decay_schedule.at(step)
        return Rates(self.schedule.at(step), decay)

    def _step_done(self, lr: float, steps: int, seconds: float) -> StepDone:
        """What the last step came to.

        Args:
            steps, seconds: how many were made since the epoch was begun or resumed, and how long they took.
        """
        loss, top1 = self._means()
        return StepDone(
            epoch=self.epoch + 1,
            step=self.step,
            steps=self.steps,
            loss=loss,
            top1=top1,
            lr=lr,
            images_per_second=steps * self.config.effective_batch_size / seconds,
            data_wait=self.train_loader.seconds_waited / seconds,
            memory_mb=peak_memory_mb(self.device),
            seconds_left=self.time_left.after(self.epoch, self.step),
        )

    def _means(self) -> tuple[float, float]:
        """Loss and top-1 in percent of the epoch so far, over the updates that were made."""
        made = max(1, self.step - len(self._unread) - self.train_step.skipped.this_epoch)
        return self._loss_sum / made, 100.0 * self._hits / (made * self.config.effective_batch_size)

    def _scored(
        self, on_event: Listener, after_step: Callable[[], None], started: float, trained: float, images: int
    ) -> EpochDone:
        runtime = self._scoring_runtime()

        def progress(done: int, total: int) -> None:
            on_event(ValidationProgress(done, total))
            if self.world.size == 1:  # several have different numbers of batches, and must agree before they stop
                after_step()

        waited = self.train_loader.seconds_waited if images else 0.0
        for bad in self.train_loader.share_unreadable(self.world):
            on_event(ImageUnreadable(bad.name, bad.reason))
        found = evaluate(
            runtime,
            self.val_loader,
            progress,
            lambda bad: on_event(ImageUnreadable(bad.name, bad.reason)),
            world=self.world,
        )
        scores = found.scores
        if images == self.steps * self.config.effective_batch_size:
            self._tell_deep_once(found.deep, on_event)
        seconds = time.perf_counter() - started
        if scores.not_finite == scores.num_images:
            raise self.train_step.diverged(f"the weights of epoch {self.epoch + 1} give no finite logits")
        loss, top1 = self._means()
        return EpochDone(
            epoch=self.epoch + 1,
            epochs=self.config.epochs,
            lr=self.schedule.at(self.epoch * self.steps + self.steps - 1),
            train_loss=loss,
            train_top1=top1,
            val_loss=scores.loss,
            val_top1=scores.top1,
            val_top5=scores.top5,
            images_per_second=images / trained,
            seconds=seconds,
            data_wait=waited / trained,
            memory_mb=peak_memory_mb(self.device),
            unreadable=len(self.train_loader.unreadable) + len(self.val_loader.unreadable),
            is_best=not scores.not_finite and self._is_better(scores.top1, scores.loss),
        )

    def _scoring_runtime(self) -> TorchRuntime | HeadRuntime:
        """The weights as they are scored: folded, which is faster and differs by rounding, where that pays."""
        if self.config.keeps_features:
            return HeadRuntime(self.weights, self.info, self.device)
        folds = len(self.val_loader.images) >= _IMAGES_THAT_REPAY_FOLDING
        return TorchRuntime(fuse_all(self.weights) if folds else self.weights, self.info, self.device)

    def _tell_deep_once(self, validated: dict[str, int], on_event: Listener) -> None:
        if self._deep_were_told:
            return
        self._deep_were_told = True
        counts = added_up((*self.train_loader.all_deep(self.world).items(), *validated.items()))
        if counts:
            on_event(DeepImagesRead(self.epoch + 1, counts))

    @property
    def best(self) -> EpochDone | None:
        """The epoch whose weights best.safetensors holds; None before the first with finite scores."""
        return best_of(self.history)

    def _is_better(self, top1: float, loss: float) -> bool:
        """Whether weights with these scores go before the best so far: of equal top-1 the surer ones."""
        return self.best is None or (top1, -loss) > (self.best.val_top1, -self.best.val_loss)

    def epochs_since_better_top1(self) -> int:
        """Epochs that are done since top-1 last rose; a lower loss alone does not count."""
        reached = None if self.best is None else self.best.val_top1
        first = next((row.epoch for row in self.history if row.is_best and row.val_top1 == reached), 0)
        return self.epoch - first

    def give_up_best(self) -> None:
        """Forget which epoch was the best, whose weights are lost: it is the one that just ended, else the next."""
        ended = len(self.history) if self.step == 0 else None
        self.history = [
            replace(row, is_best=row.epoch == ended and math.isfinite(row.val_loss)) for row in self.history
        ]

    def state(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values."""
        self._read()
        return {
            **self.train_step.state(),
            "info": self.info.to_json(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": torch.tensor([self._loss_sum, self._hits], dtype=torch.float64),
            "history": [asdict(row) for row in self.history],
            "trained_on": asdict(self.trained_on),
            "next_lr": self._next_lr(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state()` gave."""
        self.train_step.restore(state)
        self.history = [EpochDone(**row) for row in state["history"]]
        self.epoch, self.step = state["epoch"], state["step"]
        self._loss_sum, self._hits = state["sums"].tolist()
        self.notes = self._rate_changed(state["next_lr"])

    def _rate_changed(self, before: float) -> tuple[str, ...]:
        """What is to be said where the next step's rate is another one than when the state was saved."""
        lr = self._next_lr()
        if math.isclose(lr, before, rel_tol=1e-3):
            return ()
        return (
            f"With --epochs {self.config.epochs} the learning rate goes on at {lr:.2e}; it would have been "
            f"{before:.2e}.",
        )

    def _next_lr(self) -> float:
        return self.schedule.at(self.epoch * self.steps + self.step)


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[tuple[Batch, ...]]:
    """The batches of one update after the other; an incomplete last group is dropped."""
    while len(group := tuple(itertools.islice(batches, size))) == size:
        yield group
