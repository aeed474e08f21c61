"""The dependencies have wheels wherever the README says that the program runs."""

import shutil
import subprocess

import pytest
from systems.resolve import KNOWN_TO_FAIL, PYTHONS, SYSTEMS, Resolved, resolve_all


@pytest.fixture(scope="module")
def resolved() -> list[Resolved]:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    probe = ["uv", "pip", "compile", "--quiet", "--no-header", "-"]
    try:
        done = subprocess.run(probe, input="platformdirs", capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        pytest.skip("the package registry does not answer")
    if done.returncode:
        pytest.skip("the package registry cannot be reached")
    return list(resolve_all())


def test_wheels_for_every_system_and_python(resolved: list[Resolved]) -> None:
    assert len(resolved) == len(SYSTEMS) * len(PYTHONS)
    missing = {(found.system, found.python): found.error for found in resolved if not found.packages}
    assert missing.keys() <= KNOWN_TO_FAIL.keys(), missing


def test_core_ml_where_it_has_wheels_and_nowhere_else(resolved: list[Resolved]) -> None:
    have = {(found.system, found.python) for found in resolved if "coremltools" in found.packages}
    systems = [system for system in SYSTEMS if system.startswith("macOS") or system == "Linux x86-64"]
    assert have == {(system, python) for system in systems for python in PYTHONS if python != "3.14"}
