"""What a latency was measured on. Names no host and no user: results get published."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from fastvit_cli.devices import available_devices, describe_device

_LIBRARIES = ("torchvision", "timm", "numpy", "onnx", "onnxruntime", "coremltools")


@dataclass(frozen=True)
class Machine:
    """Everything a reader of a latency asks for; `dataclasses.asdict` makes it JSON.

    Attributes:
        cpu: model name.
        logical_cores: of the whole machine.
        ram_gib: memory of the whole machine; None where the system does not tell.
        devices: everything `--device` could name here, described, the fastest first.
        torch_threads: threads that one torch operation uses on the CPU.
        libraries: name to version, of those installed.
        date: ISO 8601, UTC.
    """

    cpu: str
    logical_cores: int
    ram_gib: float | None
    os: str
    python: str
    torch: str
    torch_threads: int
    devices: tuple[str, ...]
    libraries: dict[str, str]
    date: str


def describe_machine() -> Machine:
    """Describe the machine this runs on."""
    import torch

    return Machine(
        cpu=_cpu_model(),
        logical_cores=os.cpu_count() or 1,
        ram_gib=_ram_gib(),
        os=platform.platform(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        torch_threads=torch.get_num_threads(),
        devices=tuple(describe_device(torch.device(name)) for name in available_devices()),
        libraries=_library_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def load_average() -> float | None:
    """Programs running or waiting for a core, averaged over the last minute; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _cpu_model() -> str:
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                key, _, value = line.partition(":")
                if key.strip() == "model name":  # absent on most Arm machines
                    return value.strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def _ram_gib() -> float | None:
    if sys.platform == "win32":
        return None
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):
        return None


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
