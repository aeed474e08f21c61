"""The plan of a run and its epochs, of a tiny network whose updates or scores are made up where they matter."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.sources import open_split
from fastvit_cli.data.transforms import evaluation_transform
from fastvit_cli.evaluation.metrics import Scores
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.training import trainer as trainer_module
from fastvit_cli.training.events import EpochDone, StepDone, TrainEvent, UpdateSkipped
from fastvit_cli.training.initial_model import Start
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Outcome, Rates
from fastvit_cli.training.trainer import Trainer

SMALL = Preprocessing(img_size=32)
Scored = float | tuple[float, float]


def _trainer(data: Path, **options: object) -> Trainer:
    """Of 24 images, hence three updates of 8 an epoch unless told."""
    torch.manual_seed(0)
    tiny = replace(get_variant("t8"), depths=(1, 1, 1, 1), widths=(8, 16, 32, 64))
    values: dict[str, object] = {"img_size": 32, "batch_size": 8, "epochs": 10, "ema_decay": 0.0, **options}
    config = TrainConfig(**values)  # type: ignore[arg-type]
    network = FastViT(tiny, num_classes=3)
    if config.freeze_backbone:
        network.requires_grad_(False)
        network.head.requires_grad_(True)
    loaders = [
        ImageLoader(
            open_split(data, split),
            evaluation_transform(SMALL),
            LoaderOptions(32, config.batch_size, 0, training=split == "train"),
        )
        for split in ("train", "val")
    ]
    start = Start(network, ModelInfo("t8", "unfused", 3, SMALL), ())
    return Trainer(config, start, *loaders, torch.device("cpu"))


def _train_epoch(trainer: Trainer) -> tuple[EpochDone, list[TrainEvent]]:
    events: list[TrainEvent] = []
    return trainer.train_epoch(events.append, lambda: None), events


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Scored]:
    """Top-1, or top-1 and loss, of one epoch after the other, in place of an evaluation; the test fills it."""
    values: list[Scored] = []

    def evaluate(*_: object, **__: object) -> SimpleNamespace:
        value = values.pop(0)
        top1, loss = value if isinstance(value, tuple) else (value, 1.0)
        return SimpleNamespace(scores=Scores(top1=top1, top5=100.0, loss=loss, num_images=12, not_finite=0), deep={})

    monkeypatch.setattr(trainer_module, "evaluate", evaluate)
    return values


def _made_up(trainer: Trainer, outcomes: Iterable[Outcome | None]) -> list[Rates]:
    """Let the updates come to these; returns the rates they are asked for."""
    asked: list[Rates] = []
    waiting = iter(outcomes)
    skipped = trainer.train_step.skipped

    def queue(_batches: object, rates: Rates, *_: object) -> Callable[[], Outcome | None]:
        asked.append(rates)
        outcome = next(waiting)

        def read() -> Outcome | None:
            if outcome is None:
                skipped.in_a_row, skipped.this_epoch, skipped.total = 1, skipped.this_epoch + 1, skipped.total + 1
            return outcome

        return read

    trainer.train_step.queue = queue  # type: ignore[method-assign, assignment]
    return asked


def test_losses_read_a_step_later_come_to_the_same(tiny_data: Path, scored: list[Scored]) -> None:
    """A state saved in between has those of all its steps, and what was left out is told with its own step."""
    scored += [50.0, 50.0]
    outcomes = [Outcome(1.0, 2.0), Outcome(3.0, 4.0), None, None, Outcome(7.0, 6.0), Outcome(9.0, 8.0)]
    told = []
    for ahead in (False, True):
        trainer = _trainer(tiny_data, batch_size=4)
        trainer.train_step.runs_ahead = ahead
        _made_up(trainer, outcomes)
        sums: list[list[float]] = []
        events: list[TrainEvent] = []
        row = trainer.train_epoch(
            events.append,
            lambda trainer=trainer, sums=sums: (
                sums.append(trainer.state()["sums"].tolist()) if trainer.step == 5 else None
            ),
        )
        skipped = [event for event in events if isinstance(event, UpdateSkipped)]
        told.append((row.train_loss, row.train_top1, skipped, sums))
    assert told[0] == told[1]
    assert told[1][2:] == ([UpdateSkipped(1, 3), UpdateSkipped(1, 4)], [[11.0, 12.0]])


def test_a_loss_is_shown_from_the_first_step_on(tiny_data: Path, scored: list[Scored]) -> None:
    scored.append(50.0)
    trainer = _trainer(tiny_data, batch_size=4)
    trainer.train_step.runs_ahead = True
    _made_up(trainer, [Outcome(float(number), 4.0) for number in range(1, 7)])
    _, events = _train_epoch(trainer)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.loss for event in steps] == [1.0, 1.0, 1.5, 2.0, 2.5, 3.5]
    assert {event.top1 for event in steps} == {100.0}


@pytest.mark.parametrize(("epochs", "steps"), [(10, 6), (50, 15), (4, 2)])
def test_the_warm_up_takes_at_most_a_fifth_of_the_run(tiny_data: Path, epochs: int, steps: int) -> None:
    """Of three updates an epoch: five epochs were asked for."""
    schedule = _trainer(tiny_data, epochs=epochs, warmup_epochs=5.0).schedule
    assert schedule.warmup_steps == steps
    assert schedule.total_steps == 3 * epochs


def test_the_cooldown_is_spent_at_the_smallest_rate(tiny_data: Path) -> None:
    schedule = _trainer(tiny_data, epochs=10, cooldown_epochs=4, warmup_epochs=0.0, lr=1e-3, min_lr=1e-5).schedule
    assert schedule.cooldown_steps == 12
    assert [schedule.at(step) for step in (18, 29)] == pytest.approx([1e-5, 1e-5])
    assert schedule.at(17) > 1.5e-5


def test_each_update_is_given_its_own_rates(tiny_data: Path, scored: list[Scored]) -> None:
    """The cosines run over the six updates of two epochs, the weight decay's too."""
    scored += [0.0, 0.0]
    rates = {"lr": 1.0, "min_lr": 0.0, "weight_decay": 0.2, "weight_decay_end": 0.0, "warmup_epochs": 0.0}
    trainer = _trainer(tiny_data, epochs=2, **rates)
    asked = _made_up(trainer, [Outcome(1.0, 8.0)] * 6)
    for _ in range(2):
        _train_epoch(trainer)
    cosine = [1.0, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]
    assert [one.lr for one in asked] == pytest.approx(cosine)
    assert [one.weight_decay for one in asked] == pytest.approx([0.2 * value for value in cosine])


def test_without_an_end_the_weight_decay_is_left_alone(tiny_data: Path, scored: list[Scored]) -> None:
    scored.append(0.0)
    trainer = _trainer(tiny_data)
    asked = _made_up(trainer, [Outcome(1.0, 8.0)] * 3)
    _train_epoch(trainer)
    assert [one.weight_decay for one in asked] == [None] * 3


def test_of_equal_top1_the_lower_loss_is_best_and_patience_waits_for_a_better_top1(
    tiny_data: Path, scored: list[Scored]
) -> None:
    scored += [(0.0, 1.1), (50.0, 1.0), (50.0, 0.8), (50.0, 0.9), (25.0, 0.1), (50.0, 0.8), (75.0, 2.0)]
    trainer = _trainer(tiny_data)
    _made_up(trainer, [Outcome(1.0, 8.0)] * 21)
    found = [(_train_epoch(trainer)[0].is_best, trainer.epochs_since_better_top1()) for _ in range(7)]
    assert [is_best for is_best, _ in found] == [True, True, True, False, False, False, True]
    assert [waited for _, waited in found] == [0, 0, 1, 2, 3, 4, 0]
    assert trainer.best is not None
    assert trainer.best.epoch == 7


def test_means_are_over_the_updates_that_were_made(tiny_data: Path, scored: list[Scored]) -> None:
    scored += [0.0, 0.0]
    trainer = _trainer(tiny_data, batch_size=4)
    second = [Outcome(1.0, 2.0)] * 6
    _made_up(trainer, [None, Outcome(3.0, 1.0), None, Outcome(2.0, 2.0), Outcome(1.0, 3.0), None, *second])
    row, events = _train_epoch(trainer)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in events if isinstance(event, UpdateSkipped)] == [1, 3, 6]
    assert [event.loss for event in steps] == pytest.approx([0.0, 3.0, 3.0, 2.5, 2.0, 2.0])
    assert [event.top1 for event in steps] == pytest.approx([0.0, 25.0, 25.0, 37.5, 50.0, 50.0])
    assert (row.train_loss, row.train_top1) == pytest.approx((2.0, 50.0))
    row, _ = _train_epoch(trainer)
    assert (row.train_loss, row.train_top1) == pytest.approx((1.0, 50.0)), "a new epoch begins anew"


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorms_of_a_frozen_backbone_learn_nothing(tiny_data: Path, scored: list[Scored], frozen: bool) -> None:
    scored.append(0.0)
    trainer = _trainer(tiny_data, freeze_backbone=frozen, mixup=0.0, cutmix=0.0)
    network = trainer.train_step.network
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    assert any("running_mean" in name for name in before)
    _train_epoch(trainer)
    same = {torch.equal(before[name], buffer) for name, buffer in network.named_buffers()}
    assert same == {frozen}
    assert network.head.fc.weight.grad is not None


def test_folded_weights_score_as_the_weights_do(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for repays in (1, 1000):
        monkeypatch.setattr(trainer_module, "_IMAGES_THAT_REPAY_FOLDING", repays)
        rows.append(_train_epoch(_trainer(tiny_data))[0])
    folded, plain = rows
    assert folded.val_loss == pytest.approx(plain.val_loss, rel=1e-5)
    assert folded.val_top1 == plain.val_top1
    assert folded.train_loss == plain.train_loss
