"""One network in training: its optimizer, its moving average, its epochs."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.data.loader import Batch, ImageLoader
from fastvit_cli.data.mixing import BatchMixer, MixingConfig
from fastvit_cli.data.randomness import seed_batch
from fastvit_cli.errors import WorkFailedError
from fastvit_cli.evaluation.evaluate import evaluate
from fastvit_cli.models.network import FastViT
from fastvit_cli.optim.parameter_groups import parameter_groups
from fastvit_cli.optim.schedules import CosineSchedule
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.training.config import TrainConfig
from fastvit_cli.training.estimate import TimeLeft
from fastvit_cli.training.events import (
    EpochDone,
    ImageUnreadable,
    StepDone,
    TimeEstimated,
    TrainEvent,
    ValidationProgress,
)
from fastvit_cli.training.start import Start

Listener = Callable[[TrainEvent], None]
_WARMUP_START_LR = 1e-6
MAX_WARMUP = 0.2  # of the run: a recipe's warm-up must not eat a run of few epochs
_LATER_COLUMNS = {"data_wait": 0.0, "unreadable": 0}  # runs of earlier versions lack them
_REPORT_EVERY_S = 0.25  # reading the loss waits for the device, so not at every step


class Trainer:
    """The moving parts of one run, and what moves them."""

    def __init__(
        self,
        config: TrainConfig,
        start: Start,
        train_loader: ImageLoader,
        val_loader: ImageLoader,
        device: torch.device,
    ) -> None:
        from timm.utils import ModelEmaV3

        self.config = config
        self.info = start.info
        self.notes = start.notes
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.device = device
        self.network = start.network.to(device)
        # With warm-up: an average of .9995 would still hold its random start after a short run.
        self.ema = ModelEmaV3(self.network, config.ema_decay, use_warmup=True) if config.ema_decay else None
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, config.weight_decay), lr=config.lr, fused=True
        )
        steps = len(train_loader)
        self.schedule = CosineSchedule(
            peak=config.lr,
            floor=config.min_lr,
            start=min(_WARMUP_START_LR, config.lr),
            warmup_steps=round(min(config.warmup_epochs, MAX_WARMUP * config.epochs) * steps),
            total_steps=config.epochs * steps,
        )
        mixing = MixingConfig(config.mixup, config.cutmix, config.random_erasing, config.label_smoothing)
        self.mix = BatchMixer(mixing, start.info.num_classes, device)
        self.history: list[EpochDone] = []
        self.time_left = TimeLeft(steps, config.epochs, len(val_loader.images) / (steps * config.batch_size))

    @property
    def weights(self) -> FastViT:
        """The weights that are scored and saved: the moving average where there is one."""
        network = self.network if self.ema is None else self.ema.module
        assert isinstance(network, FastViT)
        return network

    def train_epoch(self, epoch: int, on_event: Listener) -> EpochDone:
        """Train one epoch (counted from 0) and score it.

        Raises:
            WorkFailedError: the loss is not finite.
        """
        started = time.perf_counter()
        last = None
        for last in self._steps(epoch, on_event):
            on_event(last)
            total = self.time_left.estimate_once()
            if total is not None:
                on_event(TimeEstimated(total))
        assert last is not None, "an epoch has at least one step"
        trained = time.perf_counter() - started
        waited = self.train_loader.seconds_waited
        runtime = TorchRuntime(self.weights, self.info, self.device)
        scores = evaluate(
            runtime,
            self.val_loader,
            lambda done, total: on_event(ValidationProgress(done, total)),
            lambda bad: on_event(ImageUnreadable(bad.name, bad.reason)),
        ).scores
        seconds = time.perf_counter() - started
        self.time_left.epoch_took(seconds)
        row = EpochDone(
            epoch=epoch + 1,
            epochs=self.config.epochs,
            lr=last.lr,
            train_loss=last.loss,
            train_top1=last.top1,
            val_loss=scores.loss,
            val_top1=scores.top1,
            val_top5=scores.top5,
            images_per_second=len(self.train_loader) * self.config.batch_size / trained,
            seconds=seconds,
            data_wait=waited / trained,
            unreadable=len(self.train_loader.unreadable) + len(self.val_loader.unreadable),
            is_best=scores.top1 > max((row.val_top1 for row in self.history), default=-1.0),
        )
        self.history.append(row)
        return row

    def _steps(self, epoch: int, on_event: Listener) -> Iterator[StepDone]:
        """Train one epoch; yields the running means now and then, and after the last step."""
        # A frozen backbone stays as it is: its BatchNorms do not learn from the new images either.
        self.network.train(not self.config.freeze_backbone)
        steps, batch_size = len(self.train_loader), self.config.batch_size
        sums = torch.zeros(2, device=self.device)  # of the loss and of the hits since the last report
        loss_sum = hit_sum = 0.0
        reported = started = time.perf_counter()
        for step, batch in enumerate(self.train_loader.epoch(epoch)):
            for bad in batch.unreadable:
                on_event(ImageUnreadable(bad.name, bad.reason))
            lr = self.schedule.at(epoch * steps + step)
            sums += self._update(batch, lr, epoch, step)
            now = time.perf_counter()
            if now - reported < _REPORT_EVERY_S and step + 1 < steps:
                continue
            loss, hits = sums.tolist()
            loss_sum, hit_sum, reported = loss_sum + loss, hit_sum + hits, now
            sums.zero_()
            if not math.isfinite(loss_sum):
                raise self._diverged(epoch, step)
            images = (step + 1) * batch_size
            self.time_left.steps_took(step + 1, now - started)
            yield StepDone(
                epoch=epoch + 1,
                step=step + 1,
                steps=steps,
                loss=loss_sum / (step + 1),
                top1=100.0 * hit_sum / images,
                lr=lr,
                images_per_second=images / (now - started),
                seconds_left=self.time_left.after(epoch, step + 1),
            )

    def _update(self, batch: Batch, lr: float, epoch: int, step: int) -> Tensor:
        """One optimizer step; returns the loss and the number of right answers, (2,) on the device."""
        seed_batch(self.config.seed, epoch, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        labels = batch.labels.to(self.device, non_blocking=True)
        raw = batch.images.to(self.device, non_blocking=True)
        images, targets = self.mix(normalize(raw, self.info), labels)
        with self._autocast():
            logits: Tensor = self.network(images).float()
        # Mixed targets (B, classes) were smoothed when they were mixed.
        smoothing = self.config.label_smoothing if targets.ndim == 1 else 0.0
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.network, step=epoch * len(self.train_loader) + step)
        hits = (logits.detach().argmax(1) == labels).sum()
        return torch.stack((loss.detach(), hits.float()))

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.config.amp else nullcontext()

    def _diverged(self, epoch: int, step: int) -> WorkFailedError:
        return WorkFailedError(
            f"Training diverged: the loss is not finite in epoch {epoch + 1}, at or before step {step + 1}.",
            f"Pass a smaller --lr than {self.config.lr:g}, or more --warmup-epochs.",
        )

    def state(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values. Randomness has no state: see `seed_batch`."""
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(row) for row in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state()` gave."""
        self.network.load_state_dict(state["network"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [EpochDone(**{**_LATER_COLUMNS, **row}) for row in state["history"]]
