"""A state that is damaged, or was changed, is not gone on from."""

import contextlib
from collections import OrderedDict
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from fastvit_cli.errors import FastViTError
from fastvit_cli.training.state_file import content_checksum, read_state, write_state

WAY_ON = "start a new run"


@pytest.fixture
def state() -> dict[str, Any]:
    """Every kind of value that a state holds."""
    torch.manual_seed(0)
    weights = OrderedDict((f"stage.{number}", torch.randn(10, number + 1)) for number in range(10))
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0), "mean": torch.randn(4, 5).t()}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "fused": None, "params": [0]}],
    }
    half = {"bfloat16": torch.randn(3).bfloat16(), "none": torch.zeros(0), "mask": torch.tensor([True, False])}
    history = [{"epoch": 1, "is_best": True, "name": "caf\udce9"}]
    return {"network": weights, "ema": None, "optimizer": optimizer, "more": half, "history": history}


def test_it_comes_back_as_it_was(state: dict[str, Any], tmp_path: Path) -> None:
    write_state(tmp_path / "state.pt", state)
    again = read_state(tmp_path / "state.pt", WAY_ON)
    assert again.keys() == state.keys()
    assert content_checksum(again) == content_checksum(state)
    assert again["optimizer"]["state"][0]["mean"].equal(state["optimizer"]["state"][0]["mean"])


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(state: dict[str, Any], tmp_path: Path) -> None:
    """Among them all of what torch.load reads without a word, such as the bytes of a tensor."""
    path, read = tmp_path / "state.pt", 0
    write_state(path, state)
    good, random = path.read_bytes(), Random(0)
    for number in range(96):
        damaged = bytearray(good)
        damaged[len(good) * number // 96 + random.randrange(len(good) // 96)] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(FastViTError):
            assert content_checksum(read_state(path, WAY_ON)) == content_checksum(state)
            read += 1
    assert read < 32, "padding between the records, and what nobody reads of their headers"


@pytest.mark.parametrize("left", [0, 100, 2000])
def test_half_a_file_is_refused(left: int, state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    write_state(path, state)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(FastViTError, match=r"state\.pt' cannot be read \(it is damaged\)") as caught:
        read_state(path, WAY_ON)
    assert caught.value.hint == "Copy it again if it was copied, or start a new run."


@pytest.mark.parametrize("where", ["network", "history", "optimizer"])
def test_a_value_that_was_changed_is_refused(where: str, state: dict[str, Any], tmp_path: Path) -> None:
    """Though every record has a right checksum of its own."""
    path = tmp_path / "state.pt"
    write_state(path, state)
    whole = torch.load(path, weights_only=True)
    if where == "network":
        whole["network"]["stage.3"][2, 1] += 1e-3
    elif where == "history":
        whole["history"][0]["epoch"] = 2
    else:
        whole["optimizer"]["param_groups"][0]["betas"] = (0.9, 0.99)
    torch.save(whole, path)
    with pytest.raises(FastViTError, match="its checksum differs"):
        read_state(path, WAY_ON)


def test_a_state_without_a_checksum_is_refused(state: dict[str, Any], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(FastViTError, match="an earlier version wrote it, without a checksum") as caught:
        read_state(tmp_path / "state.pt", WAY_ON)
    assert WAY_ON in caught.value.hint


def test_one_that_may_not_be_read_says_so(state: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "state.pt")

    write_state(tmp_path / "state.pt", state)
    monkeypatch.setattr("fastvit_cli.training.state_file.check_archive", refused)
    with pytest.raises(FastViTError, match=r"cannot be read \(Permission denied\)"):
        read_state(tmp_path / "state.pt", WAY_ON)
