"""Whether images are turned upright is part of the model's file, and every command obeys it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.loaded import PREPROCESSING, loaded_model
from helpers.program import run
from PIL import Image

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.save import save_checkpoint

CLASSES = ("ant", "bee", "cow", "dog", "emu")
_QUARTER_TURN = 6  # of EXIF: to be turned clockwise


def _picture(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    coarse = np.random.RandomState(seed).randint(0, 256, (5, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((80, 100), Image.Resampling.BILINEAR))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures three times: `tagged` lies on its side and says so, `upright` and `lying` say nothing."""
    root = tmp_path_factory.mktemp("exif")
    tag = Image.Exif()
    tag[0x0112] = _QUARTER_TURN
    for seed, name in enumerate(CLASSES * 2):
        upright = _picture(seed)
        lying = np.ascontiguousarray(np.rot90(upright))
        for kind, pixels, exif in (("tagged", lying, tag), ("lying", lying, None), ("upright", upright, None)):
            for split in ("train", "val"):
                folder = root / kind / split / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{seed}.png", **({} if exif is None else {"exif": exif}))
    return root


def _model(folder: Path, exif: bool | None) -> Path:
    loaded = loaded_model("t8")
    path = folder / f"{exif}.safetensors"
    info = replace(loaded.info, preprocessing=replace(PREPROCESSING, exif=exif), data=None)
    save_checkpoint(path, loaded.network, info)
    return path


def _loss(capsys: pytest.CaptureFixture[str], model: Path, data: Path, *words: str) -> float:
    found = run(capsys, "validate", "--ckpt", model, "--data", data, "--workers", 0, "--json", *words).result
    return float(found["loss"])


def _probabilities(capsys: pytest.CaptureFixture[str], model: Path, image: Path, *words: str) -> dict[str, float]:
    (row,) = run(capsys, "predict", image, "--ckpt", model, "--json", *words).result["images"]
    return {guess["name"]: guess["probability"] for guess in row["guesses"]}


@pytest.mark.parametrize(
    ("file_says", "typed", "validates", "predicts"),
    [
        (True, (), "upright", "upright"),
        (False, (), "lying", "lying"),
        (None, (), "lying", "upright"),  # published accuracies ignore EXIF, people do not
        (None, ("--exif",), "upright", "upright"),
        (True, ("--no-exif",), "lying", "lying"),
    ],
)
def test_every_command_obeys_the_file(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file_says: bool | None,
    typed: tuple[str, ...],
    validates: str,
    predicts: str,
) -> None:
    model = _model(tmp_path, file_says)
    losses = {kind: _loss(capsys, model, data / kind) for kind in ("upright", "lying")}
    assert losses["upright"] != pytest.approx(losses["lying"], abs=1e-3)
    assert _loss(capsys, model, data / "tagged", *typed) == pytest.approx(losses[validates], abs=1e-6)
    expected = _probabilities(capsys, model, data / predicts / "val" / "ant" / "0.png")
    found = _probabilities(capsys, model, data / "tagged" / "val" / "ant" / "0.png", *typed)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("words", "exif"), [((), True), (("--no-exif",), False)])
def test_training_writes_what_it_did_into_its_files(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], exif: bool
) -> None:
    run_dir = tmp_path / "run"
    options = ("--epochs", 1, "--img-size", 32, "--batch-size", 4, "--workers", 0, "--output", run_dir, "--json")
    trained = run(capsys, "train", "--data", data / "tagged", *options, *words).result
    assert load_checkpoint(run_dir / "best.safetensors").info.preprocessing.exif is exif
    scored = run(capsys, "validate", "--ckpt", run_dir, "--workers", 0, "--json").result
    assert scored["loss"] == pytest.approx(trained["loss"], abs=1e-4)
    assert scored["preprocessing"]["exif"] is exif
    exported = tmp_path / "model.onnx"
    run(capsys, "export", "--ckpt", run_dir, "--output", exported, "--json").result  # noqa: B018 - checks the exit
    from_onnx = run(
        capsys, "validate", "--ckpt", exported, "--data", data / "tagged", "--workers", 0, "--json"
    ).result
    assert from_onnx["loss"] == pytest.approx(trained["loss"], abs=1e-4)
    assert ("exif_transpose" in exported.with_name("model.onnx.py").read_text()) is exif


def test_published_recipes_leave_images_as_they_lie() -> None:
    from fastvit_cli.training.resolve_options import resolve_config

    for recipe, exif in (
        ("imagenet", False),
        ("imagenet-distilled", False),
        ("imagenet-384", False),
        ("scratch", True),
        ("finetune", True),
    ):
        assert resolve_config({"variant": "sa12"}, recipe).exif is exif


def test_that_images_lie_is_said_where_nobody_decided(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", data / "tagged", "--workers", 0)
    outcome = run(capsys, "validate", "--ckpt", _model(tmp_path, None), *words)
    assert "By their EXIF orientation 10 of 10 images looked at are not upright." in outcome.err
    for model, more in ((_model(tmp_path, False), ()), (_model(tmp_path, None), ("--exif",))):
        assert "EXIF" not in run(capsys, "validate", "--ckpt", model, *words, *more).err
    upright = run(capsys, "validate", "--ckpt", _model(tmp_path, None), "--data", data / "upright", "--workers", 0)
    assert "EXIF" not in upright.err
