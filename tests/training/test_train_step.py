"""Single updates of a tiny network: what is averaged, left out, clipped, decayed and seeded."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import Batch
from fastvit_cli.errors import WorkFailedError
from fastvit_cli.models.modules import DropPath, LayerScale
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.training import train_step
from fastvit_cli.training.memory_estimate import saved_for_backward
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Rates, Skipped, StepPosition, TrainStep

pytestmark = pytest.mark.quick

RATES = Rates(lr=1e-3, weight_decay=None)


def _updater(**options: object) -> TrainStep:
    torch.manual_seed(0)
    tiny = replace(get_variant("t8"), depths=(1, 1, 1, 1), widths=(8, 16, 32, 64))
    values: dict[str, object] = {"img_size": 32, "batch_size": 4, "ema_decay": 0.0, "mixup": 0.0, "cutmix": 0.0}
    config = TrainConfig(**{**values, "random_erasing": 0.0, **options})  # type: ignore[arg-type]
    info = ModelInfo("t8", "unfused", 3, Preprocessing(img_size=32))
    updater = TrainStep(config, FastViT(tiny, num_classes=3), info, torch.device("cpu"))
    updater.network.train()
    return updater


def _batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.tensor([0, 1, 2, 0]), (0, 1, 2, 3))


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Seeds of the batches whose loss is not to be finite; the test fills it."""
    seeds: set[int] = set()
    plain = train_step.normalize

    def normalize(images: Tensor, info: ModelInfo) -> Tensor:
        bad = any(torch.equal(images, _batch(seed).images) for seed in seeds)
        return plain(images, info) * (torch.inf if bad else 1.0)

    monkeypatch.setattr(train_step, "normalize", normalize)
    return seeds


def test_the_average_warms_up() -> None:
    """After ten updates .9995 would still hold nearly all of the start; timm's warm-up is at 1 - 10**(-2/3)."""
    updater = _updater(ema_decay=0.9995)
    start = copy.deepcopy(updater.network.state_dict())
    updater.update([_batch()], RATES, StepPosition(0, 10, 10))
    now, averaged = updater.network.state_dict(), updater.weights.state_dict()
    for name in ("stem.0.conv_scale.conv.weight", "head.fc.weight"):
        torch.testing.assert_close(averaged[name], torch.lerp(now[name], start[name], 1 - 10 ** (-2 / 3)))


@pytest.mark.parametrize("decayed", [True, False])
def test_layer_scales_are_decayed_as_asked(decayed: bool) -> None:
    updater = _updater(decay_layer_scale=decayed, weight_decay=0.05)
    decay = {id(one): group["weight_decay"] for group in updater.optimizer.param_groups for one in group["params"]}
    scales = [module.gamma for module in updater.network.modules() if isinstance(module, LayerScale)]
    assert scales
    assert {decay[id(gamma)] for gamma in scales} == {0.05 if decayed else 0.0}
    assert decay[id(updater.network.head.fc.weight)] == 0.05


def test_every_batch_of_an_epoch_has_its_own_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[tuple[int, int, int]] = []
    monkeypatch.setattr(train_step, "seed_batch", lambda *key: seeded.append(key))
    updater = _updater(seed=7)
    for step in range(3):
        updater.update([_batch(0), _batch(1)], RATES, StepPosition(2, step, step))
    assert seeded == [(7, 2, number) for number in range(6)]


def test_agc_leaves_out_the_classifier_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its paper does; the other modes clip all gradients."""
    clipped: dict[str, set[int]] = {}
    monkeypatch.setattr(
        train_step,
        "clip_gradients",
        lambda parameters, _, mode: clipped.update({mode: {id(one) for one in parameters}}),
    )
    for mode in ("agc", "norm"):
        updater = _updater(clip_grad=0.01, clip_mode=mode)
        updater.update([_batch()], RATES, StepPosition(0, 0, 0))
        spared = {name for name, one in updater.network.named_parameters() if id(one) not in clipped[mode]}
        assert spared == ({"head.fc.weight", "head.fc.bias"} if mode == "agc" else set())


def test_a_good_update_ends_a_row_of_bad_ones(spoilt: set[int]) -> None:
    spoilt |= {1, 2, 4, 5}
    updater = _updater()
    outcomes = []
    for seed in range(7):
        outcomes.append(updater.update([_batch(seed)], RATES, StepPosition(0, seed, seed)))
        if outcomes[-1] is None:
            updater.check_skipped(epoch=0, step=seed, steps=1000)
    assert [seed for seed, outcome in enumerate(outcomes) if outcome is None] == [1, 2, 4, 5]
    assert updater.skipped == Skipped(in_a_row=0, this_epoch=4, total=4)


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_running_ahead_of_the_device_changes_no_weight(
    opt: str, spoilt: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is queued before a loss is read, and one that is not finite touches neither weights nor statistics."""
    spoilt |= {2, 3}
    options: dict[str, object] = {"opt": opt, "ema_decay": 0.9, "clip_grad": 1.0}
    waiting = _updater(**options)
    outcomes = [waiting.update([_batch(seed)], RATES, StepPosition(0, seed, seed)) for seed in range(6)]
    monkeypatch.setattr(train_step, "runs_ahead", lambda _: True)
    ahead = _updater(**options)
    queued = [ahead.queue([_batch(seed)], RATES, StepPosition(0, seed, seed)) for seed in range(6)]
    assert ahead.skipped == Skipped()
    assert [read() for read in queued] == outcomes
    assert outcomes[2] is outcomes[3] is None
    assert ahead.skipped == waiting.skipped == Skipped(in_a_row=0, this_epoch=2, total=2)
    expected = waiting.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in ahead.network.state_dict().items())
    torch.testing.assert_close(ahead.weights.state_dict(), waiting.weights.state_dict(), rtol=1e-5, atol=1e-6)


def test_only_optimizers_that_heed_the_device_run_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "runs_ahead", lambda _: True)
    assert _updater().runs_ahead
    assert not _updater(opt="lion").runs_ahead
    monkeypatch.setattr(train_step, "autocast_dtype", lambda _: torch.float16)
    assert not _updater(amp=True).runs_ahead


def test_recomputed_blocks_learn_the_same() -> None:
    """With drop path, whose masks must be drawn again, and statistics, which must not be counted twice."""
    options: dict[str, object] = {"ema_decay": 0.9, "mixup": 0.2}
    kept, recomputed = _updater(**options), _updater(grad_checkpointing=True, **options)
    for updater in (kept, recomputed):
        for module in updater.network.modules():
            if isinstance(module, DropPath):
                module.rate = 0.5
        for seed in range(3):
            assert updater.update([_batch(seed)], RATES, StepPosition(0, seed, seed)) is not None
    assert recomputed.network.recomputed_blocks()
    expected = kept.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in recomputed.network.state_dict().items())
    sizes = [saved_for_backward(updater.network, 4, 64, train=True) for updater in (kept, recomputed)]
    assert sizes[1] < 0.7 * sizes[0]


def test_three_bad_updates_in_a_row_are_too_many(spoilt: set[int]) -> None:
    spoilt |= {0, 1, 2}
    updater = _updater()
    for seed in range(2):
        assert updater.update([_batch(seed)], RATES, StepPosition(0, seed, seed)) is None
        updater.check_skipped(epoch=0, step=seed, steps=1000)
    assert updater.update([_batch(2)], RATES, StepPosition(0, 2, 2)) is None
    with pytest.raises(WorkFailedError, match="in epoch 1, step 3; 3 updates were left out"):
        updater.check_skipped(epoch=0, step=2, steps=1000)


@pytest.mark.parametrize(("steps", "most"), [(1000, 10), (100, 3)])
def test_one_percent_of_an_epoch_may_be_left_out(steps: int, most: int) -> None:
    """Or three updates, where that is more."""
    updater = _updater()
    updater.skipped = Skipped(in_a_row=1, this_epoch=most, total=50)
    updater.check_skipped(epoch=0, step=99, steps=steps)
    updater.skipped.this_epoch += 1
    with pytest.raises(WorkFailedError, match="50 updates were left out"):
        updater.check_skipped(epoch=0, step=99, steps=steps)


def test_the_scale_of_float16_is_part_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by trial: a resumed run that began anew would leave out other updates."""
    monkeypatch.setattr(train_step, "autocast_dtype", lambda _: torch.float16)
    state = _updater(amp=True).state()
    state["scaler"]["scale"] = 64.0
    resumed = _updater(amp=True)
    assert resumed.scaler.get_scale() != 64.0
    resumed.restore(state)
    assert resumed.scaler.get_scale() == 64.0
    assert resumed.state()["scaler"] == state["scaler"]
