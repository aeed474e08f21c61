"""Resolving --device, and the boundary to CUDA and MPS, which this machine need not have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from fastvit_cli.devices import (
    _free_system_memory_mb,
    available_devices,
    describe_device,
    is_out_of_memory,
    peak_memory_mb,
    reset_peak_memory,
    resolve_device,
    synchronize,
    use_device,
)
from fastvit_cli.errors import FastViTError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:1"), torch.device("mps")


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    """Let torch report so many CUDA devices, and MPS."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "present"),
    [
        (0, False, ["cpu"]),
        (2, False, ["cuda:0", "cuda:1", "cpu"]),
        (0, True, ["mps", "cpu"]),
        (1, True, ["cuda:0", "mps", "cpu"]),
    ],
)
def test_available_devices(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, present: list[str]) -> None:
    pretend(monkeypatch, cuda, mps)
    assert available_devices() == present
    assert resolve_device("auto") == torch.device(present[0])
    for name in present:
        assert resolve_device(name) == torch.device(name)


def test_devices_behind_a_broken_driver_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count alone may be positive where CUDA cannot be used."""
    pretend(monkeypatch, cuda=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert available_devices() == ["cpu"]


def test_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    assert resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device(" CPU ") == CPU
    assert resolve_device("AUTO") == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["cuda", "cuda:2", "mps", "gpu", "", "cuda:x", "tpu:0"])
def test_absent_device_names_those_present(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch)
    with pytest.raises(FastViTError) as caught:
        resolve_device(name)
    assert caught.value.message == f"There is no device '{name}' on this machine."
    assert caught.value.hint == "Pass --device with one of: cpu."


def test_absent_cuda_index_names_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    with pytest.raises(FastViTError) as caught:
        resolve_device("cuda:7")
    assert "cuda:0, cuda:1, cpu" in caught.value.hint


@pytest.fixture
def _torchs_own_tf32() -> Iterator[None]:
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


@pytest.mark.usefixtures("_torchs_own_tf32")
@pytest.mark.parametrize("tf32", [True, False])
def test_the_device_used_is_the_current_one(monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    """torch's own default multiplies matrices exactly and convolutions as TF32."""
    pretend(monkeypatch, cuda=2)
    current = Mock()
    monkeypatch.setattr(torch.cuda, "set_device", current)
    assert use_device("cpu") == CPU
    current.assert_not_called()
    assert use_device("cuda:1", tf32=tf32) == CUDA
    current.assert_called_once_with(CUDA)
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is tf32


def test_synchronize_waits_for_the_right_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, mps = Mock(), Mock()
    monkeypatch.setattr(torch.cuda, "synchronize", cuda)
    monkeypatch.setattr(torch.mps, "synchronize", mps)
    synchronize(CPU)
    assert (cuda.call_count, mps.call_count) == (0, 0)
    synchronize(CUDA)
    cuda.assert_called_once_with(CUDA)
    synchronize(MPS)
    assert (cuda.call_count, mps.call_count) == (1, 1)


def test_reset_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = Mock()
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    for device in (CPU, MPS):
        reset_peak_memory(device)
    reset.assert_not_called()
    reset_peak_memory(CUDA)
    reset.assert_called_once_with(CUDA)


def test_peak_memory_of_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {CUDA: 3 * 2**20}[device])
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 5 * 2**20)
    assert peak_memory_mb(CUDA) == 3.0
    assert peak_memory_mb(MPS) == 5.0


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 2**20)])
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_peak_memory_of_the_process_has_a_unit_for_each_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    """Linux counts KiB, macOS bytes."""
    import resource

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: Mock(ru_maxrss=7 * unit))
    assert peak_memory_mb(CPU) == 7.0


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_peak_memory_of_this_process() -> None:
    block = torch.ones(64 * 2**18)  # 64 MiB
    peak = peak_memory_mb(CPU)
    assert peak is not None
    assert block.numel() * 4 / 2**20 < peak < 2**20


def test_peak_memory_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_memory_mb(CPU) is None


def test_descriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    assert describe_device(CUDA) == "cuda:1 (NVIDIA H100)"
    assert describe_device(CPU) == f"cpu ({torch.get_num_threads()} threads)"
    assert describe_device(MPS) == "mps"


def test_free_memory_is_the_systems_or_the_containers(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  8388608 kB\nMemAvailable:    4194304 kB\nHugePages_Total: 0\n")
    assert _free_system_memory_mb(meminfo, tmp_path) == 4096
    (tmp_path / "memory.max").write_text("max\n")
    assert _free_system_memory_mb(meminfo, tmp_path) == 4096
    (tmp_path / "memory.max").write_text(f"{3 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    (tmp_path / "memory.stat").write_text(f"anon {2**30}\ninactive_file 0\nactive_file 0\n")
    assert _free_system_memory_mb(meminfo, tmp_path) == 2048
    # Files that were read fill what is left, and make way.
    (tmp_path / "memory.current").write_text(f"{3 * 2**30}\n")
    (tmp_path / "memory.stat").write_text(f"anon {2**30}\ninactive_file {3 * 2**29}\nactive_file {2**29}\n")
    assert _free_system_memory_mb(meminfo, tmp_path) == 2048
    meminfo.write_text("nothing\n")
    assert _free_system_memory_mb(meminfo, tmp_path) is None


def test_no_memory_is_known_however_it_is_said() -> None:
    with pytest.raises(RuntimeError) as of_the_cpu:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(of_the_cpu.value)
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
