"""Limits of the system read as such, in two lines."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.loaded import saved_model
from helpers.program import run

from fastvit_cli import limits
from fastvit_cli.data.picture import reason_of
from fastvit_cli.errors import FastViTError
from fastvit_cli.limits import limit_reached, open_files_left, refuse_small_address_space

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no ulimit there")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "open files"),
        (OSError("Caught OSError in DataLoader worker process 0.\n[Errno 24] Too many open files"), "open files"),
        (RuntimeError("unable to open shared memory object </torch_1>: Too many open files (24)"), "open files"),
        (RuntimeError("received 0 items of ancdata"), "open files"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("can't start new thread"), "memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("shape mismatch"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
    ],
)
def test_what_a_limit_has_caused_is_told_from_other_errors(error: Exception, said: str | None) -> None:
    found = limit_reached(error)
    assert (None if found is None else said in found.message) == (None if said is None else True)


def test_an_image_is_not_blamed_for_a_limit() -> None:
    """It would be left out of the scores, or replaced in training."""
    assert reason_of(ValueError("broken data stream")) == "broken data stream"
    with pytest.raises(OSError, match="Too many open files"):
        reason_of(OSError(errno.EMFILE, "Too many open files"))


def test_address_space_that_torch_does_not_fit_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    refuse_small_address_space()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (3 * 10**9, resource.RLIM_INFINITY))
    monkeypatch.setattr(limits, "_size_of_torch", lambda: 29 * 10**8)
    refuse_small_address_space()
    monkeypatch.setattr(limits, "_size_of_torch", lambda: 31 * 10**8)
    with pytest.raises(FastViTError, match=r"limited to 3\.0 GB, and PyTorch takes about 3\.1"):
        refuse_small_address_space()
    monkeypatch.undo()
    assert limits._size_of_torch() > 10**8


def test_files_that_are_open_are_counted(tmp_path: Path) -> None:
    before = open_files_left()
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        after = open_files_left()
    assert before is None or (after is not None and before - after == 2)


def _limited(limit: str, *words: object) -> subprocess.CompletedProcess[str]:
    """`ulimit LIMIT; fastvit WORDS`."""
    shell = f'ulimit {limit}; exec "$0" -m fastvit_cli "$@"'
    return subprocess.run(
        ["bash", "-c", shell, sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("command", ["train", "predict"])
def test_too_little_address_space_is_no_traceback(command: str, tiny_data: Path) -> None:
    words = ["train", "--data", tiny_data] if command == "train" else ["predict", tiny_data / "val"]
    outcome = _limited("-v 400000", *words)
    assert outcome.returncode in (1, 2)
    assert outcome.stderr.startswith("Error: ")
    assert "ulimit -v" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 2, outcome.stderr


def test_too_few_open_files_for_the_workers_are_no_traceback(tiny_data: Path, tmp_path: Path) -> None:
    saved_model(tmp_path / "model.safetensors")
    words = ["--data", tiny_data, "--workers", "2"]
    outcome = _limited("-n 20", "train", *words, "--output", tmp_path / "run", "--img-size", 32, "--batch-size", 8)
    assert outcome.returncode == 2
    assert "Error: --workers 2 is more than this machine takes: at most 0, for its limit of open" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_the_program_says_a_limit_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("fastvit_cli.app.app", full)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # restored in the end
    outcome = run(capsys, "validate")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: The limit of open files is reached.\nHint:")
