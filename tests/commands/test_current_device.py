"""`--device cuda:1` is the device of the whole process: what asks CUDA for none in particular would use the first."""

from pathlib import Path

import pytest
import torch
from helpers.program import run


class _SetError(Exception):
    """Far enough: from here on a real device is needed."""


@pytest.mark.parametrize("verb", ["train", "validate", "predict", "bench"])
def test_each_command_sets_it(
    verb: str, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[torch.device] = []

    def set_device(device: torch.device) -> None:
        chosen.append(device)
        raise _SetError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    words = {
        "train": ("--data", tiny_data, "--output", tmp_path / "run", "--img-size", 32, "--batch-size", 4),
        "predict": (next(tiny_data.rglob("*.jpg")),),
    }
    assert run(capsys, verb, *words.get(verb, ()), "--device", "cuda:1").code != 0
    assert chosen == [torch.device("cuda:1")]
