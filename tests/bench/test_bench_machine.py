"""What is said of the machine: JSON, true, and naming nobody; and the peak memory of one subject among several."""

import getpass
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch

from fastvit_cli import devices
from fastvit_cli.bench import machine as machine_module
from fastvit_cli.bench import memory
from fastvit_cli.bench.machine import describe_machine, frequency_governor, load_average

CPU = torch.device("cpu")


def test_machine_is_json_and_true() -> None:
    machine = describe_machine()
    fields = json.loads(json.dumps(asdict(machine)))
    assert fields["torch"] == torch.__version__
    assert fields["python"] == platform.python_version()
    assert fields["torch_threads"] == torch.get_num_threads()
    assert fields["logical_cores"] == os.cpu_count()
    assert fields["devices"][-1].startswith("cpu")
    assert fields["cpu"]
    assert fields["libraries"]["numpy"]
    assert datetime.fromisoformat(fields["date"]).utcoffset() == timedelta(0)


def test_the_governors_of_the_cores_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "_GOVERNORS", tmp_path)
    assert frequency_governor() is None
    for core, governor in enumerate(("powersave", "performance", "powersave")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    assert frequency_governor() == "performance, powersave"


def test_the_revision_is_that_of_the_checkout_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "_CHECKOUT", tmp_path)
    assert machine_module._git_revision() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    (tmp_path / "file").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{12}-dirty", machine_module._git_revision() or "")


def test_machine_names_no_host_and_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "hostname-of-somebody")
    text = json.dumps(asdict(describe_machine()))
    assert "hostname-of-somebody" not in text
    assert os.path.expanduser("~") not in text  # noqa: PTH111
    user = getpass.getuser()
    assert len(user) < 5 or user not in text


def test_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "_LIBRARIES", ("numpy", "no-such-distribution-here"))
    assert list(describe_machine().libraries) == ["numpy"]


def test_load_average_is_none_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", refuse, raising=False)
    assert load_average() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reset the peak")
def test_peak_memory_forgets_an_earlier_subject() -> None:
    peak = memory.watch_peak_memory(CPU)
    torch.ones(100_000_000)  # 381 MiB, gone at once
    large = peak()
    peak = memory.watch_peak_memory(CPU)
    small = peak()
    assert large is not None
    assert small is not None
    assert large - small > 300


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_peak_memory_leaves_out_what_the_allocator_kept() -> None:
    tensors = [torch.ones(25_000) for _ in range(4000)]  # 381 MiB in pieces small enough for the heap
    del tensors[:-1]  # the last one lies above them, so that the heap cannot shrink by itself
    peak = memory.watch_peak_memory(CPU)
    again = [torch.ones(25_000) for _ in range(4000)]
    added = peak()
    assert len(again) == 4000
    assert added is not None
    assert added > 300, "what an earlier subject freed would be this one's for nothing"


def test_peak_memory_without_reset_is_told_only_when_this_subject_raised_it(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([500.0, 700.0, 700.0, 700.0])
    monkeypatch.setattr(memory, "_reset_process_peak", lambda: False)
    monkeypatch.setattr(devices, "peak_memory_mb", lambda _device: next(readings))
    assert memory.watch_peak_memory(CPU)() == 200.0
    assert memory.watch_peak_memory(CPU)() is None
