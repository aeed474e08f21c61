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

from fastvit_cli.devices import available_devices, describe_device, usable_cores
from fastvit_cli.formats import ENGINES
from fastvit_cli.version import __version__

_LIBRARIES = ("torchvision", "timm", "numpy", "onnx", *(row.library for row in ENGINES.values() if row.library))
_GOVERNORS = Path("/sys/devices/system/cpu")
_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Machine:
    """Everything a reader of a latency asks for; `dataclasses.asdict` makes it JSON.

    Attributes:
        cpu: model name.
        logical_cores: of the whole machine.
        usable_cores: of them, those that this process may use.
        frequency: how the system sets the clock of the CPU, such as powersave; None where it does not tell.
        ram_gib: memory of the whole machine; None where the system does not tell.
        devices: everything `--device` could name here, described, the fastest first.
        torch_threads: threads that one torch operation uses on the CPU.
        libraries: name to version, of those installed.
        fastvit: version of this program.
        git_revision: of its checkout, with "-dirty" where files were changed; None of an installed one.
        date: ISO 8601, UTC.
    """

    cpu: str
    logical_cores: int
    usable_cores: int
    frequency: str | None
    ram_gib: float | None
    os: str
    python: str
    torch: str
    torch_threads: int
    devices: tuple[str, ...]
    libraries: dict[str, str]
    fastvit: str
    git_revision: str | None
    date: str


def describe_machine() -> Machine:
    """Describe the machine this runs on."""
    import torch

    return Machine(
        cpu=_cpu_model(),
        logical_cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        frequency=frequency_governor(),
        ram_gib=_ram_gib(),
        os=platform.platform(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        torch_threads=torch.get_num_threads(),
        devices=tuple(describe_device(torch.device(name)) for name in available_devices()),
        libraries=_library_versions(),
        fastvit=__version__,
        git_revision=_git_revision(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def load_average() -> float | None:
    """Programs running or waiting for a core, averaged over the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no such function
        return None


def frequency_governor() -> str | None:
    """How Linux chooses the clock of the cores: performance, powersave, …; None where it does not tell.

    Several, separated by commas, where cores differ.
    """
    found = set()
    for path in _GOVERNORS.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with suppress(OSError):
            found.add(path.read_text(encoding="utf-8").strip())
    return ", ".join(sorted(found)) or None


def _git_revision() -> str | None:
    if not (_CHECKOUT / ".git").exists():  # or the revision would be that of whatever holds the environment
        return None
    command = ["git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
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
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # nor has it this
        return None


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
