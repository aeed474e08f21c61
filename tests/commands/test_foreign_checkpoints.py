"""Checkpoints of other trainers as typed: every command takes the same network, and says what it peeled or chose."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
from helpers.loaded import loaded_model
from helpers.photo import photo
from helpers.program import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo, a network as it is, one that is deep inside, and two that might be meant."""
    monkeypatch.chdir(tmp_path)
    plain = dict(loaded_model("t8").network.state_dict())
    other = {**plain, "head.fc.bias": plain["head.fc.bias"] + torch.tensor([0.0, 9.0, 0.0, 0.0, 0.0])}
    torch.save(plain, "plain.pth")
    torch.save({"net": {f"visual.trunk.{key}": value for key, value in plain.items()}}, "deep.pth")
    torch.save({"student": plain, "teacher": other}, "two.pth")
    torch.save({"model": plain, "model_ema": other}, "averaged.pth")
    photo().save("x.png")
    return tmp_path


def first_class(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    """The first class that predict prints, and what it says beside that."""
    outcome = run(capsys, "predict", "x.png", "--img-size", 64, "--format", "csv", *options)
    assert outcome.code == 0, outcome.err
    return next(csv.DictReader(io.StringIO(outcome.out)))["index"], outcome.err


def test_one_network_gives_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    plain, said = first_class(capsys, "--ckpt", "plain.pth")
    assert "The network was found" not in said
    deep, said = first_class(capsys, "--ckpt", "deep.pth")
    assert deep == plain
    assert "The network was found at 'net.visual.trunk' in the file." in said


def test_of_two_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    refused = run(capsys, "predict", "x.png", "--ckpt", "two.pth")
    assert refused.code == 2
    assert "'two.pth' holds 2 networks: 'student', 'teacher'." in refused.err
    assert "--ckpt-key teacher" in refused.err
    plain, _ = first_class(capsys, "--ckpt", "plain.pth")
    student, _ = first_class(capsys, "--ckpt", "two.pth", "--ckpt-key", "student")
    teacher, said = first_class(capsys, "--ckpt", "two.pth", "--ckpt-key", "teacher")
    assert (student, teacher) == (plain, "1")
    assert plain != "1"
    assert "'teacher' is taken (--ckpt-key), not 'student'" in said


def test_averaged_weights_go_first(capsys: pytest.CaptureFixture[str]) -> None:
    averaged, said = first_class(capsys, "--ckpt", "averaged.pth")
    assert "--no-ema takes the others" in said
    plain, _ = first_class(capsys, "--ckpt", "averaged.pth", "--no-ema")
    assert (averaged, plain) == ("1", first_class(capsys, "--ckpt", "plain.pth")[0])


def test_other_commands_say_it_too(capsys: pytest.CaptureFixture[str], tiny_data: Path) -> None:
    words = "'teacher' is taken (--ckpt-key)"
    key = ("--ckpt", "two.pth", "--ckpt-key", "teacher")
    assert words in run(capsys, "reparam", *key).err
    start = run(capsys, "train", *key, "--data", tiny_data, "--img-size", 32, "--batch-size", 12, "--dry-run")
    assert start.code == 0
    assert words in start.err
