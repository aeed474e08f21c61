"""What every test runs under, and the reference values that two folders of tests share."""

from __future__ import annotations

import os

# Before torch is imported anywhere, and inherited by subprocesses: OpenMP threads that outnumber the free cores
# make a float64 convolution ten times slower. Set it in the shell to use more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from helpers.golden import GoldenVariant, facts
from helpers.tiny_data import draw_tiny_data

# The files that take longest, the longest first: one that began last would keep one process busy while the others
# have nothing left to do.
_LONG = (
    "test_resume.py",
    "test_fuzz.py",
    "test_export_formats.py",
    "test_train.py",
    "test_several_processes.py",
    "test_reparam.py",
    "test_export_coreml.py",
    "test_loader.py",
    "test_golden.py",
    "test_program.py",
    "test_story.py",
    "test_teacher.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; all others stay in their order."""
    place = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(_LONG)))


@pytest.fixture(scope="session", params=facts()["state_dicts"])
def golden(request: pytest.FixtureRequest) -> GoldenVariant:
    """One of the seven variants of the reference program after the other, as it computes them.

    Of session scope, so that pytest runs all tests of one variant in a row and draws its weights once.
    """
    return GoldenVariant(request.param)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with 8 training and 4 validation images each. Do not change it."""
    return draw_tiny_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's cache folder, subprocesses included."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
