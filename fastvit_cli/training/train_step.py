"""One optimizer update: forward and backward of its batches, and what is done with the gradients."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.compat import averaged_gradients, copy_all
from fastvit_cli.data.loader import Batch
from fastvit_cli.data.mixing import BatchMixer, MixingConfig
from fastvit_cli.data.randomness import seed_batch
from fastvit_cli.devices import autocast_dtype, runs_ahead, start_reading
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.models.network import FastViT
from fastvit_cli.optim.clipping import clip_gradients
from fastvit_cli.optim.losses import DistillationLoss, TrainingLoss
from fastvit_cli.optim.moving_average import MovingAverage
from fastvit_cli.optim.optimizer import build_optimizer, set_rates
from fastvit_cli.optim.parameter_groups import parameter_groups
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.training.teacher import Teacher
from fastvit_cli.training.train_options import TrainConfig

MAX_SKIPPED_IN_A_ROW = 3
MAX_SKIPPED_SHARE = 0.01  # of an epoch's updates


@dataclass(frozen=True)
class Rates:
    """What the schedules say for one update; a weight decay of None leaves it as it is."""

    lr: float
    weight_decay: float | None


@dataclass(frozen=True)
class StepPosition:
    """Where a train step stands in the run, counted from 0.

    Attributes:
        step: index within the epoch.
        steps_before: updates since the run began.
    """

    epoch: int
    step: int
    steps_before: int


@dataclass(frozen=True)
class Outcome:
    """Mean loss and number of right answers of the images of one update."""

    loss: float
    hits: float


@dataclass
class Skipped:
    """Updates that were left out because their loss was not finite."""

    in_a_row: int = 0
    this_epoch: int = 0
    total: int = 0


class TrainStep:
    """The network, its moving average and its optimizer, and how they change.

    Args:
        class_weights: (classes,) for the loss; None where all classes count the same.
        teacher: whose answers are learned too.
        world: the processes that add up their gradients; its group must be joined.

    Raises:
        FastViTError: no such optimizer, or channels last on a CPU, or synchronised BatchNorm off CUDA.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: FastViT,
        info: ModelInfo,
        device: torch.device,
        class_weights: Tensor | None = None,
        teacher: Teacher | None = None,
        world: World = ALONE,
    ) -> None:
        self.config = config
        self.info = info
        self.device = device
        self.world = world
        self.network = network.to(device)
        if config.sync_bn:
            _refuse_off_cuda(device)
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        if config.channels_last:
            _refuse_on_cpu(device)
            self.network.to(memory_format=torch.channels_last)
        self.network.recompute_blocks(config.grad_checkpointing)
        # The compiled network shares the weights; they are saved and scored by their plain names.
        self._parallel = _in_parallel(self.network, device) if world.size > 1 else None
        trained: nn.Module = self._parallel or self.network
        if config.keeps_features:  # the batches are what the frozen part gives
            trained = self.network.get_submodule("head.fc")
        self._forward = torch.compile(trained) if config.compile else trained
        self._dtype = autocast_dtype(device)
        scaled = config.amp and self._dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        self.ema = MovingAverage(self.network, config.ema_decay) if config.ema_decay else None
        groups = parameter_groups(
            self.network,
            config.weight_decay,
            decay_layer_scale=config.decay_layer_scale,
            layer_decay=config.layer_decay,
        )
        self.optimizer = build_optimizer(groups, opt=config.opt, lr=config.lr)
        # Then nobody waits for a loss before its gradients are used: torch's fused optimizers heed a flag on the
        # device that says to leave the weights alone. The scaler of float16 has one of its own.
        self.runs_ahead = runs_ahead(device) and not scaled and hasattr(self.optimizer, "_step_supports_amp_scaling")
        self.mix = BatchMixer(_mixing(config), info.num_classes, device)
        self.loss = TrainingLoss(
            label_smoothing=config.label_smoothing,
            bce=config.bce,
            bce_threshold=config.bce_threshold,
            class_weights=None if class_weights is None else class_weights.to(device),
        )
        self.teacher = teacher
        self.distil = (
            DistillationLoss(config.distillation_type, config.distillation_alpha, config.distillation_tau)
            if teacher is not None
            else None
        )
        self.skipped = Skipped()
        # Floating-point buffers are BatchNorm's statistics, which a batch that blows up would spoil for good.
        self._statistics = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        self._kept_statistics = [buffer.clone() for buffer in self._statistics]

    @property
    def weights(self) -> FastViT:
        """The weights that are scored and saved: the moving average where there is one."""
        network = self.network if self.ema is None else self.ema.module
        assert isinstance(network, FastViT)
        return network

    def update(self, batches: Sequence[Batch], rates: Rates, at: StepPosition) -> Outcome | None:
        """One update from the gradients of these batches, and those of the other processes, together.

        An update whose loss is not finite is left out and counted, by all processes alike.

        Returns:
            What it came to over all processes; None when it was left out.
        """
        return self.queue(batches, rates, at)()

    def queue(self, batches: Sequence[Batch], rates: Rates, at: StepPosition) -> Callable[[], Outcome | None]:
        """`update`, but where the device `runs_ahead`, without waiting for it; what is returned waits, and counts.

        It is to be called once for each update, in their order.
        """
        set_rates(self.optimizer, rates.lr, rates.weight_decay)
        if self._statistics:
            copy_all(self._kept_statistics, self._statistics)
        self.optimizer.zero_grad(set_to_none=True)
        results = []
        for number, batch in enumerate(batches):
            # The gradients are added up between the processes with the last batch only.
            with nullcontext() if self._parallel is None or number == len(batches) - 1 else self._parallel.no_sync():
                results.append(self._backward(batch, len(batches), at.epoch, at.step * len(batches) + number))
        sums = self.world.all_reduce_sum(torch.stack(results).sum(0))
        if self.runs_ahead:
            self._apply_if_finite(sums[0], at)
            read = start_reading(sums)
            return lambda: self._counted(*read())
        loss, hits = sums.tolist()
        outcome = self._counted(loss, hits)
        if outcome is not None:
            self._apply(at)
        elif self._statistics:
            copy_all(self._statistics, self._kept_statistics)
        return lambda: outcome

    def _apply(self, at: StepPosition) -> None:
        """Let the weights and their average learn from the gradients."""
        self._share_statistics()
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(at.steps_before)

    def _apply_if_finite(self, loss: Tensor, at: StepPosition) -> None:
        """`_apply`, or put back what the batch has changed; the device decides."""
        finite = loss.isfinite()
        if self._statistics:
            now, before = (_flat(statistics) for statistics in (self._statistics, self._kept_statistics))
            _copy_parts(torch.where(finite, now, before), self._statistics)
        self._share_statistics()
        self._clip()
        self.optimizer.found_inf = finite.logical_not().float()  # type: ignore[attr-defined]  # as torch's scaler does
        self.optimizer.step()
        del self.optimizer.found_inf  # type: ignore[attr-defined]
        if self.ema is not None:
            self.ema.update(at.steps_before, finite.float())

    def _counted(self, loss: float, hits: float) -> Outcome | None:
        if math.isfinite(loss):
            self.skipped.in_a_row = 0
            return Outcome(loss / self.world.size, hits)
        self.skipped.in_a_row += 1
        self.skipped.this_epoch += 1
        self.skipped.total += 1
        return None

    def _backward(self, batch: Batch, batches: int, epoch: int, number: int) -> Tensor:
        """Add the gradients of one of the update's batches; its share of the loss, and its right answers.

        Args:
            number: of the batch among those of this process and epoch.
        """
        # As a single process would number it that takes the batches of all of them one after the other.
        seed_batch(self.config.seed, epoch, number * self.world.size + self.world.rank)
        labels = batch.labels.to(self.device, non_blocking=True)
        raw = batch.images.to(self.device, non_blocking=True)
        mixed = self.config.mixup_off_epoch == 0 or epoch + 1 < self.config.mixup_off_epoch
        images, targets = self.mix(normalize(raw, self.info), labels, mix=mixed)
        if self.config.channels_last and not self.config.keeps_features:
            images = images.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits: Tensor = self._forward(images)
        loss = self.loss(logits, targets)
        if self.distil is not None:
            loss = self.distil(loss, logits, self._ask_teacher(images))
        loss = loss / batches
        self.scaler.scale(loss).backward()
        hits = (logits.detach().argmax(1) == labels).sum()
        return torch.stack((loss.detach(), hits.float()))

    def _ask_teacher(self, images: Tensor) -> Tensor:
        """The teacher's logits for the very batch that the student sees."""
        assert self.teacher is not None
        with self._autocast():
            return self.teacher.logits(images)

    def _share_statistics(self) -> None:
        """Average BatchNorm's statistics over the processes, so that any of them holds the state of all."""
        if self.world.size == 1 or not self.network.training or not self._statistics:
            return
        _copy_parts(self.world.all_reduce_sum(_flat(self._statistics)).div_(self.world.size), self._statistics)

    def _clip(self) -> None:
        if self.config.clip_grad is None:
            return
        self.scaler.unscale_(self.optimizer)
        adaptive = self.config.clip_mode == "agc"
        clipped = (
            parameter
            for name, parameter in self.network.named_parameters()
            if not (adaptive and name.startswith("head."))
        )
        clip_gradients(clipped, self.config.clip_grad, self.config.clip_mode)

    def check_skipped(self, epoch: int, step: int, steps: int) -> None:
        """Stop a run that had to leave out too many updates.

        Raises:
            WorkFailedError: too many updates had to be left out.
        """
        allowed = max(MAX_SKIPPED_IN_A_ROW, MAX_SKIPPED_SHARE * steps)
        if self.skipped.in_a_row < MAX_SKIPPED_IN_A_ROW and self.skipped.this_epoch <= allowed:
            return
        raise self.diverged(
            f"the loss is not finite in epoch {epoch + 1}, step {step + 1}; {self.skipped.total} updates were left "
            "out so far"
        )

    def diverged(self, found: str) -> WorkFailedError:
        """The error for what was found in a training run that is lost."""
        return WorkFailedError(
            f"Training diverged: {found}.",
            f"Pass a smaller --lr than {self.config.lr:g}, more --warmup-epochs, or --clip-grad 1"
            + (", or leave out --amp." if self.config.amp else "."),
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=self._dtype) if self.config.amp else nullcontext()

    def state(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values. Randomness has no state: see `seed_batch`."""
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "skipped": asdict(self.skipped),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state()` gave."""
        self.network.load_state_dict(state["network"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        # Empty after steps in bfloat16, on another device.
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.skipped = Skipped(**state["skipped"])


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _copy_parts(flat: Tensor, tensors: list[Tensor]) -> None:
    """What `_flat` made of tensors like these, back into them."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    copy_all(tensors, [part.reshape_as(old) for part, old in zip(parts, tensors, strict=True)])


def _refuse_on_cpu(device: torch.device) -> None:
    if device.type == "cpu":
        raise FastViTError(
            "--channels-last is for GPUs: on a CPU torch crashes in the backward pass of such a network.",
            "Leave it out, or pass --device cuda or mps.",
        )


def _refuse_off_cuda(device: torch.device) -> None:
    if device.type != "cuda":
        raise FastViTError(
            "--sync-bn is for CUDA devices: PyTorch has no such BatchNorm elsewhere.",
            "Leave it out, or pass a larger --batch-size.",
        )


def _in_parallel(network: FastViT, device: torch.device) -> DistributedDataParallel:
    # Without sending the first process's buffers round at each step: `_share_statistics` averages them instead.
    return averaged_gradients(network, [device.index] if device.type == "cuda" else None)


def _mixing(config: TrainConfig) -> MixingConfig:
    return MixingConfig(
        config.mixup,
        config.cutmix,
        config.random_erasing,
        config.label_smoothing,
        config.mixup_prob,
        config.mixup_switch_prob,
    )
