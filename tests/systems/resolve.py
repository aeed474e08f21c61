"""Which systems and Pythons the wheels of the dependencies are there for. Needs uv and the package registry.

python tests/systems/resolve.py
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# What `uv` calls each system, and the oldest macOS that is meant.
SYSTEMS = {
    "Linux x86-64": ("x86_64-manylinux_2_28", ""),
    "Linux arm64": ("aarch64-manylinux_2_28", ""),
    "macOS 13 arm64": ("aarch64-apple-darwin", "13.0"),
    "macOS 14 arm64": ("aarch64-apple-darwin", "14.0"),
    "Windows x86-64": ("x86_64-pc-windows-msvc", ""),
}
KNOWN_TO_FAIL = {("macOS 13 arm64", "3.14"): "onnxruntime has wheels for Python 3.14 from macOS 14 on"}
_AT_ONCE = 4


@dataclass(frozen=True)
class Resolved:
    """The wheels that an installation would take; `packages` is empty where there are none, and `error` says why."""

    system: str
    python: str
    packages: dict[str, str]
    error: str


def resolve(system: str, python: str) -> Resolved:
    """Choose wheels only: nothing is downloaded but what describes them, and nothing is built."""
    platform, macos = SYSTEMS[system]
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-platform", platform, "--python-version", python, str(PROJECT)]
    environment = {**os.environ, **({"MACOSX_DEPLOYMENT_TARGET": macos} if macos else {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    packages = dict(line.split(";")[0].split("==") for line in lines if "==" in line)
    return Resolved(system, python, packages, " ".join(done.stderr.split()))


def resolve_all() -> Iterator[Resolved]:
    """Every system with every Python, in the order of the tables."""
    pairs = [(system, python) for system in SYSTEMS for python in PYTHONS]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(lambda pair: resolve(*pair), pairs)


def main() -> int:
    failed = 0
    for found in resolve_all():
        known = KNOWN_TO_FAIL.get((found.system, found.python))
        wheels = " ".join(
            f"{name} {found.packages.get(name, '-')}" for name in ("torch", "onnxruntime", "coremltools")
        )
        failed += not found.packages and known is None
        print(f"{found.system:15} {found.python:5} {wheels if found.packages else known or found.error[:300]}")  # noqa: T201 - run by hand
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
