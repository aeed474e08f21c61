"""A frozen backbone sees each view of an image once; the head that follows is the one that images would give."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from fastvit_cli.checkpoints.load import LoadedModel, from_tensors
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.sources import choose_data, open_split
from fastvit_cli.data.transforms import Augmentation, evaluation_transform, training_transform
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.training.build import build_trainer
from fastvit_cli.training.events import FeaturesProgress, StepDone, TrainEvent
from fastvit_cli.training.frozen_features import FeatureLoader, frozen_backbone
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.run_folder import RunFolder
from fastvit_cli.training.stopping import Stop
from fastvit_cli.training.train import TrainResult, run_training
from fastvit_cli.training.train_options import TrainConfig

SMALL = Preprocessing(img_size=32)


@pytest.fixture(scope="module")
def backbone() -> LoadedModel:
    torch.manual_seed(0)
    return from_tensors(create_model("t8", num_classes=0).state_dict(), "the backbone")


def _loaders(data: Path) -> tuple[ImageLoader, ImageLoader]:
    images, options = open_split(data, "train"), LoaderOptions(32, 8, 0, training=True, seed=3)
    return (
        ImageLoader(images, evaluation_transform(SMALL), options),
        ImageLoader(images, training_transform(SMALL, Augmentation()), options),
    )


def test_views_are_what_the_backbone_makes_of_images(
    tiny_data: Path, backbone: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, changed = _loaders(tiny_data)
    runtime = frozen_backbone(backbone.network, backbone.info, torch.device("cpu"))
    passes = []
    forward = runtime.logits
    monkeypatch.setattr(runtime, "logits", lambda images: passes.append(len(images)) or forward(images))
    features = FeatureLoader(runtime, 2, plain, changed)
    network = backbone.network.eval()
    for epoch, loader in ((0, plain), (1, changed), (2, plain), (3, changed)):
        batches = list(features.epoch(epoch))
        assert len(batches) == len(features) == 3
        # The order is of the epoch, what is seen of its view.
        of_view = {tuple(b.indices): b for b in loader.in_order(epoch % 2)}
        images = torch.cat([batch.images for batch in of_view.values()])
        with torch.inference_mode():
            expected = network(normalize(images, backbone.info))
        for batch in batches:
            assert torch.allclose(batch.images, expected[list(batch.indices)], atol=1e-5)
            assert batch.labels.tolist() == [int(plain.images.labels[index]) for index in batch.indices]
    assert passes == [8, 8, 8] * 2, "each view is computed once"
    first, second = (next(features.epoch(epoch)).indices for epoch in (0, 2))
    assert first != second, "epochs are shuffled anew"


def _config(output: Path, **changes: object) -> TrainConfig:
    values = {"img_size": 32, "batch_size": 4, "epochs": 4, "workers": 0, "updates": None, **changes}
    return resolve_config({**values, "output": str(output)}, "frozen")


def _train(
    config: TrainConfig, data: Path, loaded: LoadedModel | None, events: list[TrainEvent] | None = None
) -> TrainResult:
    def on_event(event: TrainEvent) -> None:
        if events is not None:
            events.append(event)

    return run_training(config, choose_data(str(data)), loaded, on_event=on_event)


def test_the_head_is_the_one_that_images_would_give(tiny_data: Path, backbone: LoadedModel, tmp_path: Path) -> None:
    """As many views as epochs, of which the second to the fourth are augmented as without kept features."""
    events: list[TrainEvent] = []
    kept = _train(_config(tmp_path / "kept", feature_views=4), tiny_data, backbone, events)
    anew = _train(_config(tmp_path / "anew", feature_views=0), tiny_data, backbone)
    assert {(e.split, e.view, e.views) for e in events if isinstance(e, FeaturesProgress)} == {
        *(("train", view, 4) for view in (1, 2, 3, 4)),
        ("val", 1, 1),
    }
    for one, other in zip(kept.history[1:], anew.history[1:], strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=0.05)
        assert one.val_loss == pytest.approx(other.val_loss, rel=0.05)


def test_a_run_ended_among_the_features_goes_on_to_the_bit(
    tiny_data: Path, backbone: LoadedModel, tmp_path: Path
) -> None:
    whole = _train(_config(tmp_path / "whole", feature_views=2), tiny_data, backbone)
    config = _config(tmp_path / "run", feature_views=2)
    moments: Iterator[object] = iter(
        [
            lambda e: isinstance(e, FeaturesProgress) and (e.view, e.done) == (2, 8),
            lambda e: isinstance(e, StepDone) and (e.epoch, e.step) == (4, 2),
        ]
    )
    for _ in range(2):
        moment = next(moments)

        def stop(event: TrainEvent, moment: object = moment) -> None:
            if moment(event):  # type: ignore[operator]
                os.kill(os.getpid(), signal.SIGTERM)

        folder = RunFolder(tmp_path / "run") if (tmp_path / "run").is_dir() else None
        loaded = backbone if folder is None else _stored(folder)
        result = run_training(config, choose_data(str(tiny_data)), loaded, folder, on_event=stop)
        assert result.stopped == Stop.TERMINATED
    folder = RunFolder(tmp_path / "run")
    run_training(config, choose_data(str(tiny_data)), _stored(folder), folder)
    states = [torch.load(path / "state.pt", weights_only=True)["network"] for path in (whole.run_dir, folder.path)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def _stored(folder: RunFolder) -> LoadedModel:
    from fastvit_cli.checkpoints.load import load_checkpoint

    return load_checkpoint(folder.last)


def test_an_unreadable_image_is_named_once_and_replaced(
    tiny_data: Path, backbone: LoadedModel, tmp_path: Path
) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    next((data / "train").rglob("*.jpg")).write_bytes(b"no image")
    next((data / "val").rglob("*.jpg")).write_bytes(b"no image")
    result = _train(_config(tmp_path / "run", max_bad_images=10), data, backbone)
    assert [row.unreadable for row in result.history] == [2] * 4


@pytest.mark.parametrize("other", [{"mixup": 0.2}, {"random_erasing": 0.1}, {"world_size": 2}])
def test_what_changes_images_anew_needs_them(other: dict[str, object]) -> None:
    assert _config(Path("run")).keeps_features
    assert not _config(Path("run"), **other).keeps_features


def test_views_are_about_a_frozen_backbone() -> None:
    with pytest.raises(FastViTError, match="--feature-views is about --freeze-backbone"):
        TrainConfig(feature_views=2)


def test_only_the_classifier_learns(tiny_data: Path, backbone: LoadedModel, tmp_path: Path) -> None:
    result = _train(_config(tmp_path / "run"), tiny_data, backbone)
    trained = torch.load(result.run_dir / "state.pt", weights_only=True)["network"]
    before = backbone.network.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in before.items())
    head = nn.Linear(768, 3)
    head.load_state_dict({"weight": trained["head.fc.weight"], "bias": trained["head.fc.bias"]})
    assert trained["head.fc.weight"].abs().sum() > 0


@pytest.mark.parametrize(("mixup", "said"), [(0.0, False), (0.2, True)])
def test_features_that_are_not_kept_are_said(
    tiny_data: Path, backbone: LoadedModel, tmp_path: Path, mixup: float, said: bool
) -> None:
    config = _config(tmp_path / "run", mixup=mixup)
    notes = build_trainer(config, choose_data(str(tiny_data)), backbone, lambda _: None).notes
    assert any("Features are not kept" in note for note in notes) is said
